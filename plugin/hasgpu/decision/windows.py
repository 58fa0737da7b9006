"""Averages over a sliding window of one-second buckets, exactly as Knative computes them.

Knows no clock: every call is told ``now`` in Unix seconds. One thread owns a window. The reference is
knative/serving pkg/autoscaler/aggregation/bucketing.go; equal inputs give equal results.
"""

from __future__ import annotations

import math

from hasgpu.model.go_values import round_half_away

BUCKET_S = 1
_NEVER = -math.inf
_LEAST_WEIGHT = 0.2
_WINDOW_WEIGHT = 0.9999
"""Share of the whole weight that the buckets of a full window hold together."""


class LinearWindow:
    """A ring of buckets; the average weighs every bucket alike.

    Reports of one bucket are added up, since every activator and pod reports its own part of the load.
    """

    __slots__ = ("_buckets", "_first_write", "_granularity_s", "_last_write", "_total", "window_s")

    def __init__(self, window_s: float, granularity_s: int = BUCKET_S) -> None:
        self.window_s = window_s
        self._granularity_s = granularity_s
        self._buckets = [0.0] * math.ceil(window_s / granularity_s)
        self._first_write = _NEVER
        self._last_write = _NEVER
        self._total = 0.0

    def record(self, now: float, value: float) -> None:
        """Add a report; one older than the window is dropped, a late one inside it is added to its bucket."""
        granularity_s, size = self._granularity_s, len(self._buckets)
        slot = int(now // granularity_s)
        at = slot * granularity_s
        if at != self._last_write:
            if at + self.window_s <= self._last_write:
                return
            if self._first_write == _NEVER or self._first_write > at:
                self._first_write = at
            if at > self._last_write:
                self._advance(slot, at)
        self._buckets[slot % size] += value
        self._total += value

    def _advance(self, slot: int, at: int) -> None:
        """Clear the buckets between the last write and ``at``, which becomes the last write."""
        buckets, size = self._buckets, len(self._buckets)
        if at - self._last_write >= self.window_s:
            self._first_write = at
            self._buckets = [0.0] * size
            self._total = 0.0
        else:
            for past in range(int(self._last_write) // self._granularity_s + 1, slot + 1):
                self._total -= buckets[past % size]
                buckets[past % size] = 0.0
        self._last_write = at

    def is_empty(self, now: float) -> bool:
        """True where nothing was recorded within the window."""
        return self._truncated(now) - self._last_write > self.window_s

    def average(self, now: float) -> float:
        """Mean of the buckets written so far within the window, to six decimals; 0 where there are none."""
        silence_s = self._truncated(now) - self._last_write
        if silence_s >= self.window_s and silence_s > 0:
            return 0.0
        size = len(self._buckets)
        written = (
            self._last_write - self._first_write
        ) / self._granularity_s + 1  # infinite after a resize while silent
        if silence_s <= 0:
            return _rounded(self._total / min(written, size))
        rest, last = self._total, int(self._last_write) // self._granularity_s
        silent = int(now // self._granularity_s) - last
        for past in range(last + 1, last + silent + 1):
            rest -= self._buckets[past % size]
        return _rounded(rest / min(written, size - silent))

    def resize(self, window_s: float, now: float) -> None:
        """Change the window's length and keep the newest buckets that fit."""
        if window_s == self.window_s:
            return
        old, size = self._buckets, math.ceil(window_s / self._granularity_s)
        new, total = [0.0] * size, 0.0
        if self.is_empty(now):
            self._first_write = _NEVER
        else:
            last = int(self._last_write) // self._granularity_s
            for slot in range(last, last - min(size, len(old)), -1):
                new[slot % size] = old[slot % len(old)]
                total += old[slot % len(old)]
            self._first_write = self._last_write - (len(old) - 1) * self._granularity_s
        self.window_s, self._buckets, self._total = window_s, new, total

    def _truncated(self, now: float) -> float:
        return now // self._granularity_s * self._granularity_s


class WeightedWindow(LinearWindow):
    """The same ring; newer buckets weigh exponentially more."""

    __slots__ = ("_coefficient",)

    def __init__(self, window_s: float, granularity_s: int = BUCKET_S) -> None:
        super().__init__(window_s, granularity_s)
        self._coefficient = smoothing_coefficient(len(self._buckets))

    def average(self, now: float) -> float:
        """Weighted sum of the window's buckets: a steady load reads a little low until the window has filled."""
        if self.is_empty(now):
            return 0.0
        buckets, size, keep = self._buckets, len(self._buckets), 1 - self._coefficient
        silent = max(int((self._truncated(now) - self._last_write) // self._granularity_s), 0)
        weight = self._coefficient * int_power(keep, silent)
        newest = int(self._last_write) // self._granularity_s
        total = 0.0
        for slot in range(newest, newest - (size - silent), -1):
            total += buckets[slot % size] * weight
            weight *= keep
        return total

    def resize(self, window_s: float, now: float) -> None:
        super().resize(window_s, now)
        self._coefficient = smoothing_coefficient(math.ceil(window_s / self._granularity_s))


def smoothing_coefficient(buckets: int) -> float:
    """Weight of the newest bucket: all of a full window's buckets together weigh 0.9999, never below 0.2 each."""
    return max(1 - math.pow(1 - _WINDOW_WEIGHT, 1 / buckets), _LEAST_WEIGHT)


def int_power(base: float, exponent: int) -> float:
    """``base`` to a whole power by repeated squaring of the mantissa: the order of operations of Go's math.Pow.

    libm differs from it in the last bit, and a last bit can become a pod after a ceil.
    """
    result, result_exponent = 1.0, 0
    mantissa, mantissa_exponent = math.frexp(base)
    while exponent:
        if exponent & 1:
            result *= mantissa
            result_exponent += mantissa_exponent
        mantissa *= mantissa
        mantissa_exponent *= 2
        if mantissa < 0.5:
            mantissa += mantissa
            mantissa_exponent -= 1
        exponent >>= 1
    return math.ldexp(result, result_exponent)


def _rounded(value: float) -> float:
    """Six decimals."""
    return round_half_away(value * 1e6) / 1e6
