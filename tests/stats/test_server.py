"""The stat server behaves to activators, kubelets and other replicas as Knative's does."""

from __future__ import annotations

import asyncio
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
from hasgpu.model.load import StatMessage
from hasgpu.stats.server import StatServer
from hasgpu.stats.wire import REPLICA_AGENT, encode_frame
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.stats.test_wire import stat_of


class Running:
    """A server on loopback and what it received."""

    def __init__(self) -> None:
        self.received: list[StatMessage] = []
        self.ready = self.live = True
        self.owned = {"autoscaler-bucket-00-of-01"}
        self.server = StatServer(
            self._take,
            owns_bucket=lambda name: name in self.owned,
            is_ready=lambda: self.ready,
            is_live=lambda: self.live,
        )
        self.port = 0
        self._arrived = asyncio.Event()

    def _take(self, messages: Sequence[StatMessage]) -> None:
        self.received.extend(messages)
        self._arrived.set()

    async def until(self, count: int) -> None:
        async with asyncio.timeout(5):
            while len(self.received) < count:
                self._arrived.clear()
                await self._arrived.wait()

    async def probe(self, path: str = "/", **headers: str) -> int:
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", headers=headers)

        def ask() -> int:
            try:
                with urllib.request.urlopen(request, timeout=5) as answer:
                    return int(answer.status)
            except urllib.error.HTTPError as error:
                return error.code

        return await asyncio.to_thread(ask)


@asynccontextmanager
async def running() -> AsyncIterator[Running]:
    made = Running()
    made.port = await made.server.start("127.0.0.1", 0)
    try:
        yield made
    finally:
        await made.server.stop()


def test_stats_arrive_and_pings_are_answered() -> None:
    async def play() -> None:
        async with running() as made, connect(f"ws://127.0.0.1:{made.port}", proxy=None) as activator:
            await activator.send(encode_frame([stat_of(1), stat_of(2)]))
            async with asyncio.timeout(5):
                await (await activator.ping())
            await made.until(2)
            assert [each.average_concurrent_requests for each in made.received] == [1, 2]
            assert made.server.connections == 1

    asyncio.run(play())


def test_bad_frames_are_skipped_and_the_connection_stays() -> None:
    async def play() -> None:
        async with running() as made, connect(f"ws://127.0.0.1:{made.port}", proxy=None) as activator:
            await activator.send("text")
            await activator.send(b"\xff\xff\xff\xff")
            await activator.send(b"")
            await activator.send(encode_frame([stat_of(3)]))
            await made.until(1)
            assert made.server.bad_frames == 2

    asyncio.run(play())


def test_a_frame_of_twenty_thousand_revisions_is_taken() -> None:
    async def play() -> None:
        async with running() as made, connect(f"ws://127.0.0.1:{made.port}", proxy=None) as activator:
            await activator.send(encode_frame(stat_of(n) for n in range(20_000)))
            await made.until(20_000)

    asyncio.run(play())


def test_probes_are_answered_without_an_upgrade() -> None:
    async def play() -> None:
        async with running() as made:
            assert await made.probe(**{"User-Agent": "kube-probe/1.36"}) == 200
            assert await made.probe(**{"K-Kubelet-Probe": "autoscaler"}) == 200
            assert await made.probe("/healthz") == 200
            assert await made.probe("/readyz") == 200
            made.ready = False
            assert await made.probe("/readyz") == 503
            assert await made.probe("/healthz") == 200
            made.live = False
            assert await made.probe("/healthz") == 503

    asyncio.run(play())


@pytest.mark.parametrize(
    ("host", "accepted"),
    [
        pytest.param("autoscaler-bucket-00-of-01.knative-serving.svc:8080", True, id="our bucket"),
        pytest.param("autoscaler-bucket-01-of-02.knative-serving.svc:8080", False, id="a bucket of another replica"),
        pytest.param("autoscaler.knative-serving.svc.cluster.local:8080", True, id="the Service"),
    ],
)
def test_only_the_owner_of_a_bucket_upgrades_its_host(host: str, accepted: bool) -> None:
    async def play() -> None:
        async with running() as made:
            # The URI names the host, the address is where it resolves to.
            dialled = connect(f"ws://{host}", host="127.0.0.1", port=made.port, proxy=None)
            if accepted:
                async with dialled:
                    return
            with pytest.raises(InvalidStatus):
                await dialled

    asyncio.run(play())


def test_shutdown_sends_activators_elsewhere_with_1012() -> None:
    async def play() -> None:
        async with running() as made:
            activator = await connect(f"ws://127.0.0.1:{made.port}", proxy=None)
            await made.server.stop()
            with pytest.raises(ConnectionClosed) as closed:
                await activator.recv()
            assert closed.value.rcvd is not None
            assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1012, "Restarting")

    asyncio.run(play())


def test_activators_are_counted_while_they_are_connected_and_replicas_are_not() -> None:
    async def play() -> None:
        async with running() as here:
            async with (
                connect(f"ws://127.0.0.1:{here.port}", proxy=None) as activator,
                connect(f"ws://127.0.0.1:{here.port}", proxy=None, user_agent_header=REPLICA_AGENT) as replica,
            ):
                await activator.send(encode_frame([stat_of(1)]))
                await replica.send(encode_frame([stat_of(2)]))
                await here.until(2)
                assert here.server.connections == 1
            async with asyncio.timeout(5):
                while here.server.connections:
                    await asyncio.sleep(0.01)

    asyncio.run(play())
