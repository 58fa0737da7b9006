"""Adapter stats: the websocket server that Knative's activators push to, and the process's health answers.

An activator is ready only while its connection here stands, so this server answers pings, never closes on content,
and on shutdown says 1012, at which activators reconnect at once to another replica.
Reference: knative/serving pkg/autoscaler/statserver.
"""

from __future__ import annotations

import http
import logging
import socket
import time
from collections.abc import Callable, Sequence

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode
from websockets.http11 import Request, Response

from hasgpu.model.load import StatMessage

from .wire import REPLICA_AGENT, WireError, decode_frame

log = logging.getLogger(__name__)

# One frame carries all revisions an activator saw: 62 bytes each, so this is room for a million.
MAX_FRAME_BYTES = 64 << 20
_KEEPALIVE_S, _KEEPALIVE_EVERY_S, _KEEPALIVE_PROBES = 10, 5, 3
_BUCKET_HOST_PREFIX = "autoscaler-bucket"


class StatServer:
    """Lives on one event loop; ``on_messages`` is called there and must be quick."""

    def __init__(
        self,
        on_messages: Callable[[Sequence[StatMessage]], None],
        *,
        owns_bucket: Callable[[str], bool],
        is_ready: Callable[[], bool],
        is_live: Callable[[], bool] = lambda: True,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._on_messages = on_messages
        self._clock = clock
        self._owns_bucket = owns_bucket
        self._healthy = {"/healthz": is_live, "/readyz": is_ready}
        self._server: Server | None = None
        self._activators = 0
        self.bad_frames = 0

    async def start(self, host: str, port: int) -> int:
        """Listens; returns the port."""
        self._server = await serve(
            self._receive,
            host,
            port,
            process_request=self._answer_plain,
            max_size=MAX_FRAME_BYTES,
            compression=None,
            ping_interval=None,
            close_timeout=5,
        )
        return int(next(iter(self._server.sockets)).getsockname()[1])

    async def stop(self) -> None:
        """Sends every activator to another replica."""
        if self._server is not None:
            self._server.close(code=CloseCode.SERVICE_RESTART, reason="Restarting")
            await self._server.wait_closed()

    @property
    def connections(self) -> int:
        """Activators connected now. Other replicas don't count: what they forward is no connection of theirs."""
        return self._activators

    def _answer_plain(self, connection: ServerConnection, request: Request) -> Response | None:
        """Health probes, and hosts of buckets that are not ours, are answered without an upgrade."""
        if (healthy := self._healthy.get(request.path)) is not None:
            status = http.HTTPStatus.OK if healthy() else http.HTTPStatus.SERVICE_UNAVAILABLE
            return connection.respond(status, "")
        headers = request.headers
        if headers.get("User-Agent", "").startswith("kube-probe/") or "K-Kubelet-Probe" in headers:
            return connection.respond(http.HTTPStatus.OK, "")
        bucket = headers.get("Host", "").partition(".")[0].partition(":")[0]
        if bucket.startswith(_BUCKET_HOST_PREFIX) and not self._owns_bucket(bucket):
            return connection.respond(http.HTTPStatus.OK, "")
        return None

    async def _receive(self, connection: ServerConnection) -> None:
        _keep_alive(connection.transport.get_extra_info("socket"))
        asked = connection.request
        activator = asked is None or asked.headers.get("User-Agent") != REPLICA_AGENT
        self._activators += activator
        try:
            await self._take(connection)
        except ConnectionClosed:
            log.info("stats: %s went without a goodbye", connection.remote_address)
        finally:
            self._activators -= activator

    async def _take(self, connection: ServerConnection) -> None:
        async for frame in connection:
            if isinstance(frame, str):
                self._refuse(connection, f"a text frame of {len(frame)} characters")
                continue
            try:
                messages = decode_frame(frame, self._clock())
            except WireError as error:
                self._refuse(connection, str(error))
                continue
            if messages:
                self._on_messages(messages)

    def _refuse(self, connection: ServerConnection, why: str) -> None:
        self.bad_frames += 1
        log.warning("stats: frame of %s skipped: %s", connection.remote_address, why)


def _keep_alive(sock: socket.socket | None) -> None:
    """Finds peers that vanished without a FIN, long before their silence could count as no load."""
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEPALIVE_S)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _KEEPALIVE_EVERY_S)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _KEEPALIVE_PROBES)
