"""Process simulator: what happens when, in virtual time. Events of one instant happen in the order they were set."""

from __future__ import annotations

import heapq
from collections.abc import Callable

Event = Callable[[float], None]


class Agenda:
    """A heap of events."""

    def __init__(self) -> None:
        self._events: list[tuple[float, int, Event]] = []
        self._set = 0

    def at(self, when_s: float, event: Event) -> None:
        """Sets an event."""
        self._set += 1
        heapq.heappush(self._events, (when_s, self._set, event))

    def next_s(self) -> float:
        """When the next one is due; infinite where there is none."""
        return self._events[0][0] if self._events else float("inf")

    def run_due(self, now: float) -> None:
        """All events that are due, also those that they set for now."""
        while self._events and self._events[0][0] <= now:
            heapq.heappop(self._events)[2](now)
