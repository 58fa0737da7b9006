"""Process autoscaler: scrapes each revision that asks for it once a second, each at its own phase.

Lives on the event loop; ``want`` alone may be called from other threads.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable

from msgspec.structs import replace

from hasgpu.model.keys import RevisionKey
from hasgpu.stats.scraper import Scrapeable, ScrapeError, Scraper

from .kpa_class import KpaClass
from .pod_index import PodIndex

log = logging.getLogger(__name__)

PERIOD_S = 1.0


class ScrapeLoop:
    """``on_error_change`` is told when a revision's scrapes begin to fail or work again."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        kpa: KpaClass,
        pods: PodIndex,
        *,
        on_error_change: Callable[[RevisionKey], None],
        on_duration: Callable[[RevisionKey, float], None],
        clock: Callable[[], float] = time.time,
        scraper: Scraper | None = None,
        period_s: float = PERIOD_S,
    ) -> None:
        self._loop, self._kpa, self._pods, self._clock = loop, kpa, pods, clock
        self._on_error_change, self._on_duration = on_error_change, on_duration
        self._scraper = scraper or Scraper()
        self._period_s = period_s
        self._tasks: dict[RevisionKey, asyncio.Task[None]] = {}
        self._errors: dict[RevisionKey, str] = {}

    def want(self, key: RevisionKey, wanted: bool) -> None:
        """Begin or end to scrape a revision."""
        # After the loop has ended there is nothing to scrape.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._follow, key, wanted)

    def error(self, key: RevisionKey) -> str | None:
        """Why the last scrape of a revision failed."""
        return self._errors.get(key)

    async def stop(self) -> None:
        """Ends all scrapes."""
        tasks = list(self._tasks.values())
        for key in list(self._tasks):
            self._follow(key, False)
        await asyncio.gather(*tasks, return_exceptions=True)
        self._scraper.close()

    def _follow(self, key: RevisionKey, wanted: bool) -> None:
        if wanted and key not in self._tasks:
            self._tasks[key] = self._loop.create_task(self._run(key))
        elif not wanted and key in self._tasks:
            self._tasks.pop(key).cancel()
            self._errors.pop(key, None)

    async def _run(self, key: RevisionKey) -> None:
        due = self._loop.time()
        while True:
            # A scrape that took longer than its period skips periods.
            due = max(due + self._period_s, self._loop.time())
            await asyncio.sleep(due - self._loop.time())
            await self._scrape(key)

    async def _scrape(self, key: RevisionKey) -> None:
        collection = self._kpa.collection(key)
        if collection is None:
            return
        begun, now = self._loop.time(), self._clock()
        pods = [
            Scrapeable(pod.status.pod_ip, now - pod.status.start_time.timestamp() if pod.status.start_time else 0.0)
            for pod in self._pods.pods(key)
            if pod.status.phase == "Running" and pod.ready and not pod.terminating and pod.status.pod_ip
        ]
        try:
            stat = await self._scraper.scrape(key, pods, collection.stable_window_s)
        except ScrapeError as error:
            self._settle(key, str(error))
            return
        self._settle(key, None)
        if stat is not None:
            self._on_duration(key, self._loop.time() - begun)
            self._kpa.on_stats([replace(stat, timestamp_s=self._clock())])

    def _settle(self, key: RevisionKey, error: str | None) -> None:
        """Tell of a change between working and failing only: a message that varies is no news."""
        if (error is None) == (key not in self._errors):
            return
        if error is None:
            del self._errors[key]
        else:
            log.warning("scrape: %s", error)
            self._errors[key] = error
        self._on_error_change(key)
