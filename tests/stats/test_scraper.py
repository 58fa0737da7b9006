"""Queue-proxies are asked over kept connections; a liar or a silent one is not believed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
from hasgpu.model.keys import RevisionKey
from hasgpu.stats.scraper import Scrapeable, Scraped, Scraper, sample_size
from hasgpu.stats.stat_pb2 import Stat

KEY = RevisionKey("ns", "hello-00001")
NOW = 1000.0
OLD, YOUNG = NOW - 100.0, NOW - 5.0
PODS = [Scrapeable(f"127.0.0.{n}", OLD) for n in (2, 3, 4)]


def stat(concurrency: float) -> bytes:
    return Stat(pod_name="pod", average_concurrent_requests=concurrency, request_count=10).SerializeToString()


class QueueProxies:
    """One listener on all loopback addresses; the address asked decides the answer."""

    def __init__(self) -> None:
        self.bodies: dict[str, bytes] = {}
        self.content_type = "application/protobuf"
        self.status = 200
        self.extra_head = ""
        self.connections = 0
        self.port = 0
        self._writers: list[asyncio.StreamWriter] = []

    def hang_up(self) -> None:
        """Ends all connections at once, as a pod that restarts does."""
        for writer in self._writers:
            writer.transport.abort()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.append(writer)
        ip = writer.get_extra_info("sockname")[0]
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                body = self.bodies[ip]
                head = f"HTTP/1.1 {self.status} OK\r\nContent-Type: {self.content_type}\r\n{self.extra_head}"
                writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        except (asyncio.IncompleteReadError, KeyError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def queue_proxies() -> AsyncIterator[tuple[QueueProxies, Scraper]]:
    made = QueueProxies()
    server = await asyncio.start_server(made.answer, "0.0.0.0", 0)
    made.port = server.sockets[0].getsockname()[1]
    scraper = Scraper(made.port)
    try:
        yield made, scraper
    finally:
        scraper.close()
        server.close()


async def scrape(scraper: Scraper, pods: Sequence[Scrapeable]) -> Scraped:
    told: asyncio.Future[Scraped] = asyncio.get_running_loop().create_future()
    scraper.scrape(KEY, pods, stable_window_s=60, now=NOW, done=told.set_result)
    async with asyncio.timeout(8):
        return await told


@pytest.mark.parametrize(("pods", "want"), [(0, 0), (1, 1), (3, 3), (5, 4), (10, 7), (100, 14), (1000, 16)])
def test_the_sample_grows_slower_than_the_revision(pods: int, want: int) -> None:
    assert sample_size(pods) == want


def test_the_sum_of_few_pods_is_exact_and_connections_are_kept() -> None:
    async def play() -> None:
        async with queue_proxies() as (proxies, scraper):
            proxies.bodies = {"127.0.0.2": stat(1), "127.0.0.3": stat(2), "127.0.0.4": stat(4.5)}
            for _ in range(3):
                got = (await scrape(scraper, PODS)).stat
                assert got is not None
                assert (got.average_concurrent_requests, got.request_count) == (7.5, 30)
            assert proxies.connections == 3

    asyncio.run(play())


def test_a_sample_speaks_for_all() -> None:
    async def play() -> None:
        async with queue_proxies() as (proxies, scraper):
            pods = [Scrapeable(f"127.0.1.{n}", OLD) for n in range(1, 21)]
            proxies.bodies = {pod.ip: stat(2) for pod in pods}
            got = (await scrape(scraper, pods)).stat
            assert got is not None
            assert got.average_concurrent_requests == 40
            assert proxies.connections == sample_size(20)

    asyncio.run(play())


def test_another_pod_answers_for_a_silent_one_while_there_are_some() -> None:
    async def play() -> None:
        async with queue_proxies() as (proxies, scraper):
            pods = [Scrapeable(f"127.0.1.{n}", OLD) for n in range(1, 6)]
            proxies.bodies = {pod.ip: stat(1) for pod in pods[1:]}
            got = (await scrape(scraper, pods)).stat
            assert got is not None
            assert got.average_concurrent_requests == 5

    asyncio.run(play())


def test_young_pods_are_asked_only_where_old_ones_do_not_suffice() -> None:
    async def play() -> None:
        async with queue_proxies() as (proxies, scraper):
            young = [Scrapeable(f"127.0.1.{n}", YOUNG) for n in range(1, 5)]
            old = [Scrapeable(f"127.0.1.{n}", OLD) for n in range(5, 21)]
            proxies.bodies = {pod.ip: stat(1) for pod in old}
            got = (await scrape(scraper, young + old)).stat
            assert got is not None
            assert proxies.connections == sample_size(20)

    asyncio.run(play())


@pytest.mark.parametrize(
    "lie",
    [
        pytest.param({"content_type": "text/plain"}, id="wrong content type"),
        pytest.param({"status": 503}, id="an error status"),
        pytest.param({"bodies": {"127.0.0.2": b"\xff\xff"}}, id="a body that is no Stat"),
        pytest.param({"bodies": {"127.0.0.2": b"x" * 337}}, id="a huge body"),
        pytest.param({"bodies": {"127.0.0.2": stat(float("nan"))}}, id="a load that is not a number"),
        pytest.param({"bodies": {}}, id="no answer"),
        pytest.param({"extra_head": "X: " + "y" * 20_000 + "\r\n"}, id="an endless head"),
    ],
)
def test_nothing_is_recorded_where_too_few_pods_tell_the_truth(lie: dict[str, object]) -> None:
    async def play() -> None:
        async with queue_proxies() as (proxies, scraper):
            proxies.bodies = {"127.0.0.2": stat(1)}
            for name, value in lie.items():
                setattr(proxies, name, value)
            assert "0 of 1 pods answered" in ((await scrape(scraper, PODS[:1])).error or "")

    asyncio.run(play())


def test_a_revision_without_pods_has_no_data_of_its_own() -> None:
    assert asyncio.run(scrape(Scraper(), [])) == (None, None)


def test_a_pod_that_never_answers_is_given_up_and_asked_again() -> None:
    async def play() -> None:
        silent: list[asyncio.StreamWriter] = []
        server = await asyncio.start_server(lambda _, writer: silent.append(writer), "127.0.0.2", 0)
        scraper = Scraper(server.sockets[0].getsockname()[1], timeout_s=0.3)
        for expected in (1, 2):
            assert "0 of 1 pods answered" in ((await scrape(scraper, PODS[:1])).error or "")
            assert len(silent) == expected
        scraper.close()
        server.close()

    asyncio.run(play())


def test_a_kept_connection_that_was_closed_is_replaced_within_the_same_scrape() -> None:
    async def play() -> None:
        async with queue_proxies() as (proxies, scraper):
            proxies.bodies = {"127.0.0.2": stat(1)}
            assert (await scrape(scraper, PODS[:1])).stat
            proxies.hang_up()
            assert (await scrape(scraper, PODS[:1])).stat
            assert proxies.connections == 2

    asyncio.run(play())
