"""Process simulator: the request rate over the last seconds, which most rivals scale by. Pure; told the time."""

from __future__ import annotations

from collections import deque


class TrailingRate:
    """Requests/s over a trailing window, as ``rate(counter[10s])`` reads a scraped counter."""

    __slots__ = ("_counts", "_phase_s", "_scrape_s", "_window_s")

    def __init__(self, window_s: float, scrape_s: float = 1.0, phase_s: float = 0.0) -> None:
        self._window_s, self._scrape_s, self._phase_s = window_s, scrape_s, phase_s
        self._counts: deque[tuple[float, float]] = deque()

    def count(self, now: float, requests: float) -> None:
        """Requests of the second that has just ended."""
        self._counts.append((now, requests))

    def per_s(self, now: float) -> float:
        """As of the last scrape."""
        at = (now - self._phase_s) // self._scrape_s * self._scrape_s + self._phase_s
        while self._counts and self._counts[0][0] <= at - self._window_s - 1.0:
            self._counts.popleft()
        # A report comes a little after its second: that of the scrape's own second belongs to it.
        scraped = [(when, requests) for when, requests in self._counts if when <= at + 0.5]
        if not scraped:
            return 0.0
        # Before the window has filled, the span there is counts.
        span_s = max(min(self._window_s, at), self._scrape_s)
        from_s = scraped[-1][0] - self._window_s + 0.5
        return sum(requests for when, requests in scraped if when > from_s) / span_s


class LastSeconds:
    """The largest one-second count of a few seconds: what a fast vertical scaler looks at."""

    __slots__ = ("_counts", "_seconds")

    def __init__(self, seconds: int) -> None:
        self._seconds = seconds
        self._counts: deque[tuple[float, float]] = deque()

    def count(self, now: float, requests: float) -> None:
        """Requests of the second that has just ended."""
        self._counts.append((now, requests))

    def per_s(self, now: float) -> float:
        """Mean of the last seconds."""
        while self._counts and self._counts[0][0] <= now - self._seconds:
            self._counts.popleft()
        return sum(requests for _, requests in self._counts) / self._seconds
