"""Adapter stats: hands stats that arrived at the wrong replica to the one that leads. One connection per leader.

Reference: knative/serving pkg/autoscaler/statforwarder. Unlike upstream, stats that cannot be delivered are dropped
after a while: a load of half a minute ago is worse than none.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from hasgpu.model.load import StatMessage

from .wire import REPLICA_AGENT, decode_frame, encode_frame

log = logging.getLogger(__name__)

RETRY_S = 0.5
QUEUED_FRAMES = 60
"""About half a minute of two activators; the oldest goes first."""
_CONNECT_TIMEOUT_S = 0.5


class Forwarder:
    """Lives on one event loop.

    ``addresses_of`` names the URLs to try for a lease, best first: an empty list where nobody leads, None where this
    replica does. ``keep`` gets what waited for a leader that this replica has become.
    """

    def __init__(
        self, addresses_of: Callable[[str], Sequence[str] | None], keep: Callable[[Sequence[StatMessage]], None]
    ) -> None:
        self._addresses_of, self._keep = addresses_of, keep
        self._lanes: dict[str, _Lane] = {}

    def offer(self, lease: str, messages: Sequence[StatMessage]) -> None:
        """Queues messages for the leader of a lease; never blocks."""
        lane = self._lanes.get(lease)
        if lane is None:
            lane = self._lanes[lease] = _Lane(lease, self._addresses_of, self._keep)
        lane.put(encode_frame(messages))

    @property
    def dropped(self) -> int:
        """Frames that no leader took in time."""
        return sum(lane.dropped for lane in self._lanes.values())

    async def stop(self) -> None:
        """Closes the connections; what is queued is lost."""
        await asyncio.gather(*(lane.stop() for lane in self._lanes.values()))
        self._lanes.clear()


class _Lane:
    """The queue and the connection to one lease's leader."""

    def __init__(
        self,
        lease: str,
        addresses_of: Callable[[str], Sequence[str] | None],
        keep: Callable[[Sequence[StatMessage]], None],
    ) -> None:
        self._lease = lease
        self._addresses_of, self._keep = addresses_of, keep
        self._frames: deque[bytes] = deque()
        self._filled = asyncio.Event()
        self._url = ""
        self._connection: ClientConnection | None = None
        self._task = asyncio.get_running_loop().create_task(self._run())
        self._failing = False
        self.dropped = 0

    def put(self, frame: bytes) -> None:
        if len(self._frames) == QUEUED_FRAMES:
            self._frames.popleft()
            self.dropped += 1
        self._frames.append(frame)
        self._filled.set()

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self._hang_up()

    async def _run(self) -> None:
        while True:
            await self._filled.wait()
            frame = self._frames.popleft()
            urls = self._addresses_of(self._lease)
            if urls is None:
                self._keep(decode_frame(frame))
            elif not await self._sent(frame, urls):
                self._put_back(frame)
                await self._hang_up()
                await asyncio.sleep(RETRY_S)
            if not self._frames:
                self._filled.clear()

    async def _sent(self, frame: bytes, urls: Sequence[str]) -> bool:
        """Whether the leader has it. Only the first of several failures is told: there are two a second."""
        try:
            connection = await self._connected(urls)
            await connection.send(frame)
        except (OSError, WebSocketException) as error:
            level = logging.DEBUG if self._failing else logging.INFO
            log.log(level, "stats for %s not forwarded yet: %s", self._lease, error)
            self._failing = True
            return False
        self._failing = False
        return True

    def _put_back(self, frame: bytes) -> None:
        """First in line again, unless newer frames have filled the queue meanwhile."""
        if len(self._frames) < QUEUED_FRAMES:
            self._frames.appendleft(frame)
        else:
            self.dropped += 1

    async def _connected(self, urls: Sequence[str]) -> ClientConnection:
        """The connection to the present leader; a leader that changed is left at once."""
        if self._connection is not None:
            if self._url in urls:
                return self._connection
            await self._hang_up()
        failure: Exception = ConnectionError("nobody leads")
        for url in urls:
            try:
                self._connection = await connect(
                    url,
                    open_timeout=_CONNECT_TIMEOUT_S,
                    compression=None,
                    proxy=None,
                    close_timeout=1,
                    user_agent_header=REPLICA_AGENT,
                )
            except (OSError, WebSocketException) as error:
                failure = error
                continue
            self._url = url
            return self._connection
        raise failure

    async def _hang_up(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()
