"""Stats find the replica that leads, also when it changes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from hasgpu.model.load import StatMessage
from hasgpu.stats.forwarder import QUEUED_FRAMES, RETRY_S, Forwarder

from tests.stats.test_server import running
from tests.stats.test_wire import stat_of

LEASE = "autoscaler-bucket-00-of-01"


def kept_by_nobody(messages: Sequence[StatMessage]) -> None:
    raise AssertionError("this replica leads nothing")


def test_stats_reach_the_leader_over_one_connection() -> None:
    async def play() -> None:
        async with running() as leader:
            forwarder = Forwarder(
                lambda lease: [f"ws://127.0.0.1:{leader.port}"] if lease == LEASE else [], kept_by_nobody
            )
            for n in range(5):
                forwarder.offer(LEASE, [stat_of(n)])
            await leader.until(5)
            assert [each.average_concurrent_requests for each in leader.received] == [0, 1, 2, 3, 4]
            assert leader.server.connections == 0
            await forwarder.stop()

    asyncio.run(play())


def test_a_new_leader_gets_what_comes_after_the_change() -> None:
    async def play() -> None:
        async with running() as first, running() as second:
            urls = [f"ws://127.0.0.1:{first.port}"]
            forwarder = Forwarder(lambda _: urls, kept_by_nobody)
            forwarder.offer(LEASE, [stat_of(1)])
            await first.until(1)
            urls[0] = f"ws://127.0.0.1:{second.port}"
            forwarder.offer(LEASE, [stat_of(2)])
            await second.until(1)
            assert len(first.received) == 1
            await forwarder.stop()

    asyncio.run(play())


def test_a_leader_that_comes_back_gets_the_waiting_stats() -> None:
    async def play() -> None:
        urls: list[str] = []
        forwarder = Forwarder(lambda _: urls, kept_by_nobody)
        forwarder.offer(LEASE, [stat_of(1)])
        await asyncio.sleep(0)
        async with running() as leader:
            # An address that refuses is passed over for the next.
            urls += ["ws://127.0.0.1:9", f"ws://127.0.0.1:{leader.port}"]
            await leader.until(1)
            await forwarder.stop()

    asyncio.run(play())


def test_without_a_leader_the_oldest_stats_are_dropped() -> None:
    async def play() -> None:
        forwarder = Forwarder(lambda _: [], kept_by_nobody)
        for n in range(QUEUED_FRAMES + 3):
            forwarder.offer(LEASE, [stat_of(n)])
        assert forwarder.dropped == 3
        await forwarder.stop()

    asyncio.run(play())


def test_who_becomes_the_leader_keeps_what_waited_for_one() -> None:
    async def play() -> None:
        leading = False
        kept: list[StatMessage] = []
        forwarder = Forwarder(lambda _: None if leading else [], kept.extend)
        forwarder.offer(LEASE, [stat_of(1)])
        await asyncio.sleep(0)
        forwarder.offer(LEASE, [stat_of(2)])
        leading = True
        while len(kept) < 2:
            await asyncio.sleep(0.01)
        assert [each.average_concurrent_requests for each in kept] == [1, 2]
        assert forwarder.dropped == 0
        await forwarder.stop()

    asyncio.run(play())


def test_nobody_leading_is_told_once_not_twice_a_second(caplog: pytest.LogCaptureFixture) -> None:
    async def play() -> None:
        caplog.set_level("INFO")
        forwarder = Forwarder(lambda _: [], kept_by_nobody)
        forwarder.offer(LEASE, [stat_of(1)])
        await asyncio.sleep(3 * RETRY_S)
        await forwarder.stop()

    asyncio.run(play())
    assert sum("not forwarded yet" in record.getMessage() for record in caplog.records) == 1
