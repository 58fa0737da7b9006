"""Ready pods are scraped once a period into their revision's collection; failure and recovery are each told once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

from hasgpu.autoscaler.kpa_class import KpaClass
from hasgpu.autoscaler.pod_index import PodIndex
from hasgpu.autoscaler.scrape_loop import ScrapeLoop
from hasgpu.cluster.metadata import Condition, Metadata
from hasgpu.cluster.objects import Pod, PodStatus
from hasgpu.model.keys import RevisionKey

from tests.autoscaler.test_kpa_class import METRIC, PA, SPEC
from tests.stats.test_scraper import QueueProxies, queue_proxies, stat

KEY = RevisionKey("ns", "hello-00001")
NOW = 1_790_000_000.0


def pod(name: str, ip: str, ready: str = "True") -> Pod:
    metadata = Metadata(name=name, namespace=KEY.namespace, labels={"serving.knative.dev/revision": KEY.name})
    status = PodStatus(
        phase="Running",
        pod_ip=ip,
        start_time=datetime.fromtimestamp(NOW - 100, UTC),
        conditions=(Condition(type="Ready", status=ready),),
    )
    return Pod(metadata=metadata, status=status)


def test_scrapes_feed_the_algorithm_and_failures_are_told_once() -> None:
    async def play() -> None:
        told: list[RevisionKey] = []
        durations: list[float] = []
        kpa = KpaClass(ready_pods=lambda key: 1, on_change=lambda key: None, clock=lambda: NOW)
        pods = PodIndex()
        for each in (pod("a", "127.0.0.2"), pod("b", "127.0.0.3"), pod("c", "127.0.0.4", ready="False")):
            pods.on_event("ADDED", None, each)
        kpa.wanted(PA, SPEC, NOW)
        kpa.collect(KEY, METRIC, "linear")
        async with queue_proxies() as (proxies, scraper):
            proxies.bodies = {"127.0.0.2": stat(100), "127.0.0.3": stat(110)}
            scrapes = ScrapeLoop(
                asyncio.get_running_loop(),
                kpa,
                pods,
                on_error_change=told.append,
                on_duration=lambda key, duration_s: durations.append(duration_s),
                clock=lambda: NOW,
                scraper=scraper,
                period_s=0.05,
            )
            scrapes.want(KEY, True)
            scrapes.want(KEY, True)
            await _until(lambda: len(durations) >= 1)
            kpa.tick(KEY, NOW)
            # One second holds several scrapes here, and they add up; 210 over a target of 70 are 3 pods each time.
            assert kpa.wanted(PA, SPEC, NOW).pods % 3 == 0 < kpa.wanted(PA, SPEC, NOW).pods
            await _fail_and_recover(proxies, scrapes, told)
            await scrapes.stop()

    asyncio.run(play())


async def _fail_and_recover(proxies: QueueProxies, scrapes: ScrapeLoop, told: list[RevisionKey]) -> None:
    proxies.status = 500
    await _until(lambda: scrapes.error(KEY) is not None)
    assert "0 of 2 pods answered" in (scrapes.error(KEY) or "")
    proxies.status = 200
    await _until(lambda: scrapes.error(KEY) is None)
    assert told == [KEY, KEY]


async def _until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(8):
        while not holds():
            await asyncio.sleep(0.02)
