"""Process autoscaler: scrapes each revision that asks for it once a second, spread over that second.

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
from hasgpu.stats.scraper import Scraped, Scraper

from .kpa_class import KpaClass
from .pod_index import PodIndex

log = logging.getLogger(__name__)

PERIOD_S = 1.0
_SLOTS = 20
"""Turns a period: each asks a part of the revisions, so that answers do not all come at once."""


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
        self._turn_s = period_s / _SLOTS
        self._slots: list[set[RevisionKey]] = [set() for _ in range(_SLOTS)]
        self._slot_of: dict[RevisionKey, int] = {}
        self._asked: set[RevisionKey] = set()
        self._errors: dict[RevisionKey, str] = {}
        self._turns = 0
        self._timer: asyncio.TimerHandle | None = None

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
        for key in list(self._slot_of):
            self._follow(key, False)
        if self._timer is not None:
            self._timer.cancel()
        self._scraper.close()

    def _follow(self, key: RevisionKey, wanted: bool) -> None:
        if wanted and key not in self._slot_of:
            slot = min(range(_SLOTS), key=lambda each: len(self._slots[each]))
            self._slot_of[key] = slot
            self._slots[slot].add(key)
            if self._timer is None:
                self._timer = self._loop.call_later(self._turn_s, self._turn, self._loop.time() + self._turn_s)
        elif not wanted and key in self._slot_of:
            self._slots[self._slot_of.pop(key)].discard(key)
            self._errors.pop(key, None)

    def _turn(self, due: float) -> None:
        # Turns that come late are not caught up on.
        following = max(due + self._turn_s, self._loop.time())
        self._timer = self._loop.call_at(following, self._turn, following)
        self._turns += 1
        for key in tuple(self._slots[self._turns % _SLOTS]):
            # A scrape that takes longer than its period skips periods.
            if key not in self._asked:
                self._scrape(key)

    def _scrape(self, key: RevisionKey) -> None:
        collection = self._kpa.collection(key)
        if collection is None:
            return
        begun = self._loop.time()

        def done(scraped: Scraped) -> None:
            self._asked.discard(key)
            if key in self._slot_of:
                self._take(key, scraped, begun)

        self._asked.add(key)
        pods = self._pods.scrapeable(key)
        self._scraper.scrape(key, pods, stable_window_s=collection.stable_window_s, now=self._clock(), done=done)

    def _take(self, key: RevisionKey, scraped: Scraped, begun: float) -> None:
        self._settle(key, scraped.error)
        if scraped.stat is not None:
            self._on_duration(key, self._loop.time() - begun)
            self._kpa.on_stats([replace(scraped.stat, timestamp_s=self._clock())])

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
