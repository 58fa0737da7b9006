"""A revision's load as its reporters tell it: concurrency and request rate over the two windows. Pure.

Reference: knative/serving pkg/autoscaler/metrics/collector.go.
"""

from __future__ import annotations

from hasgpu.model.decider import Aggregation, ScalingMetric
from hasgpu.model.load import StatMessage

from .windows import BUCKET_S, LinearWindow, WeightedWindow


class LoadWindows:
    """Four windows fed by the same reports."""

    __slots__ = ("_concurrency", "_concurrency_panic", "_rps", "_rps_panic")

    def __init__(self, stable_window_s: float, panic_window_s: float, aggregation: Aggregation = "linear") -> None:
        window = WeightedWindow if aggregation == "weighted-exponential" else LinearWindow
        self._concurrency: LinearWindow = window(stable_window_s)
        self._concurrency_panic: LinearWindow = window(panic_window_s)
        self._rps: LinearWindow = window(stable_window_s)
        self._rps_panic: LinearWindow = window(panic_window_s)

    def record(self, now: float, stat: StatMessage) -> None:
        """Add a report. What came through a proxy is subtracted: the activator has reported it already."""
        concurrency = stat.average_concurrent_requests - stat.average_proxied_concurrent_requests
        rps = stat.request_count - stat.proxied_request_count
        bucket = int(now // BUCKET_S)
        self._concurrency.add(bucket, concurrency)
        self._concurrency_panic.add(bucket, concurrency)
        self._rps.add(bucket, rps)
        self._rps_panic.add(bucket, rps)

    def resize(self, stable_window_s: float, panic_window_s: float, now: float) -> None:
        """Follow a changed Metric."""
        self._concurrency.resize(stable_window_s, now)
        self._concurrency_panic.resize(panic_window_s, now)
        self._rps.resize(stable_window_s, now)
        self._rps_panic.resize(panic_window_s, now)

    def stable_and_panic(self, metric: ScalingMetric, now: float, *, scraped: bool) -> tuple[float, float] | None:
        """Both averages; None is "no data". A revision that nobody scrapes has load 0 while nobody reports."""
        stable, panic = (
            (self._rps, self._rps_panic) if metric == "rps" else (self._concurrency, self._concurrency_panic)
        )
        if scraped and stable.is_empty(now):
            return None
        return stable.average(now), panic.average(now)
