"""How many requests a second a slice can serve within the SLO: the table decisions read."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass

from .units import MIN_TIME_QUOTA_PERCENT


@dataclass(frozen=True, slots=True, kw_only=True)
class CapacityTable:
    """Requests/s by (SM partition, time quota) for one revision's batch size, SLO and percentile.

    ``requests_per_s[i][q]`` belongs to ``sm_percents[i]`` and quota ``q`` percent, q = 0..100; it never falls
    with SM or quota. ``latency_s`` has the same shape: the predicted latency of one inference, unqueued.
    """

    sm_percents: tuple[int, ...]
    requests_per_s: tuple[tuple[float, ...], ...]
    latency_s: tuple[tuple[float, ...], ...]
    shared_requests_per_s: tuple[tuple[float, ...], ...] = ()
    """The same for one of several pods: a request then waits only where both pods it could go to are taken.
    Empty: as for a lone pod."""
    learned: bool = False
    """True where no profile stands behind it but own traffic."""

    def __post_init__(self) -> None:
        if not self.sm_percents or list(self.sm_percents) != sorted(set(self.sm_percents)):
            raise ValueError(f"sm_percents must rise strictly, was: {self.sm_percents}")
        for grid in (self.requests_per_s, self.latency_s, self.shared_requests_per_s or self.latency_s):
            if len(grid) != len(self.sm_percents) or any(len(line) != 101 for line in grid):
                raise ValueError("a capacity grid has one line of 101 quotas for each SM percent")

    def rate(self, sm_percent: int, quota_percent: int, *, shared: bool = False) -> float:
        """Requests/s of a slice; a share between two grid lines counts as the lower, below all lines 0."""
        line = bisect_right(self.sm_percents, sm_percent) - 1
        return 0.0 if line < 0 else self._grid(shared)[line][quota_percent]

    def latency(self, sm_percent: int, quota_percent: int) -> float:
        """Predicted latency in seconds of one inference at that slice; infinite where it cannot run."""
        line = bisect_right(self.sm_percents, sm_percent) - 1
        return float("inf") if line < 0 else self.latency_s[line][quota_percent]

    def least_quota(
        self, sm_percent: int, requests_per_s: float, low: int, high: int, *, shared: bool = False
    ) -> int | None:
        """The least quota in low..high percent that serves the rate; None where even ``high`` does not."""
        line = bisect_right(self.sm_percents, sm_percent) - 1
        if line < 0:
            return None
        rates = self._grid(shared)[line]
        low = max(low, 0)
        if rates[high] < requests_per_s:
            return None
        quota = bisect_left(rates, requests_per_s, low, high)
        return quota if quota == 0 or quota >= MIN_TIME_QUOTA_PERCENT else min(MIN_TIME_QUOTA_PERCENT, high)

    def _grid(self, shared: bool) -> tuple[tuple[float, ...], ...]:
        return self.shared_requests_per_s if shared and self.shared_requests_per_s else self.requests_per_s
