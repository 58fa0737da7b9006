"""Process autoscaler: keys waiting to be reconciled. Knows no key's meaning.

A key waits once however often it was added, is never handed out twice at a time, and comes back after a failure with
growing delay. Urgent keys go before all others, so that a thousand status writes do not hold back a scale-up.
"""

from __future__ import annotations

import heapq
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

K = TypeVar("K")

_FIRST_RETRY_S = 0.005
_LAST_RETRY_S = 60.0


class WorkQueue(Generic[K]):
    """Used by any number of producers and workers."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._changed = threading.Condition()
        self._urgent: deque[K] = deque()
        self._waiting: deque[K] = deque()
        # What is to be worked on, and whether urgently; the deques may hold a key that was taken by the other.
        self._queued: dict[K, bool] = {}
        self._working: set[K] = set()
        self._delayed: list[tuple[float, int, K]] = []
        self._due: dict[K, float] = {}
        self._failures: dict[K, int] = {}
        self.failed = 0
        """Failures of all keys so far."""
        self._sequence = 0
        self._stopped = False

    def add(self, key: K) -> None:
        """Let it be worked on soon."""
        with self._changed:
            self._add(key, urgent=False)

    def add_urgent(self, key: K) -> None:
        """Let it be worked on next."""
        with self._changed:
            self._add(key, urgent=True)

    def add_after(self, key: K, delay_s: float) -> None:
        """Let it be worked on after a while; of several delays of a key the shortest counts."""
        with self._changed:
            due = self._clock() + max(0.0, delay_s)
            if due < self._due.get(key, float("inf")):
                self._due[key] = due
                self._sequence += 1
                heapq.heappush(self._delayed, (due, self._sequence, key))
                self._changed.notify()

    def retry(self, key: K, least_s: float = 0.0, most_s: float = _LAST_RETRY_S) -> None:
        """It failed: let it come back, each time later, up to ``most_s``; what comes no later does not count."""
        with self._changed:
            self.failed += 1
            failures = self._failures.get(key, 0)
            delay_s = _FIRST_RETRY_S * 2.0**failures
            self._failures[key] = failures + (delay_s < most_s)
        self.add_after(key, max(least_s, min(delay_s, most_s)))

    def succeeded(self, key: K) -> None:
        """Its next failure is a first one."""
        with self._changed:
            self._failures.pop(key, None)

    def take(self) -> K | None:
        """The next key, waiting for one; None after ``stop``. ``done`` must follow."""
        with self._changed:
            while not self._stopped:
                wait_s = self._release_due()
                while self._urgent or self._waiting:
                    key = (self._urgent or self._waiting).popleft()
                    if key in self._queued and key not in self._working:
                        del self._queued[key]
                        self._working.add(key)
                        return key
                self._changed.wait(wait_s)
            return None

    def done(self, key: K) -> None:
        """The worker has finished with it, well or not."""
        with self._changed:
            self._working.discard(key)
            if key in self._queued:
                self._line_up(key)

    def stop(self) -> None:
        """Sends all workers home."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def __len__(self) -> int:
        return len(self._queued)

    def _add(self, key: K, *, urgent: bool) -> None:
        if key in self._queued and (self._queued[key] or not urgent):
            return
        self._queued[key] = urgent
        if key not in self._working:
            self._line_up(key)

    def _line_up(self, key: K) -> None:
        (self._urgent if self._queued[key] else self._waiting).append(key)
        self._changed.notify()

    def _release_due(self) -> float | None:
        """Queue what is due; seconds until the next is."""
        now = self._clock()
        while self._delayed and self._delayed[0][0] <= now:
            due, _, key = heapq.heappop(self._delayed)
            if self._due.get(key) == due:
                del self._due[key]
                self._add(key, urgent=False)
        return self._delayed[0][0] - now if self._delayed else None
