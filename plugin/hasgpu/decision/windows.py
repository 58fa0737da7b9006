"""Averages over a sliding window of one-second buckets, exactly as Knative computes them.

Knows no clock: every call is told ``now`` in Unix seconds. One thread owns a window. The reference is
knative/serving pkg/autoscaler/aggregation/bucketing.go; equal inputs give equal results.
"""

from __future__ import annotations

import math
from array import array

from hasgpu.model.go_values import round_half_away

BUCKET_S = 1
_NEVER = -(2**62)
"""A bucket long before all others."""
_LEAST_WEIGHT = 0.2
_WINDOW_WEIGHT = 0.9999
"""Share of the whole weight that the buckets of a full window hold together."""


class LinearWindow:
    """A ring of buckets; the average weighs every bucket alike.

    Reports of one bucket are added up, since every activator and pod reports its own part of the load. Buckets are
    numbered by time, so that a bucket's number is enough to record: several windows fed alike share the division.
    """

    __slots__ = ("_buckets", "_first", "_granularity_s", "_last", "_size", "_total", "window_s")

    def __init__(self, window_s: float, granularity_s: int = BUCKET_S) -> None:
        self.window_s = window_s
        self._granularity_s = granularity_s
        self._size = math.ceil(window_s / granularity_s)
        self._buckets = _empty(self._size)
        self._first = _NEVER
        self._last = _NEVER
        self._total = 0.0

    def record(self, now: float, value: float) -> None:
        """Add a report; one older than the window is dropped, a late one inside it is added to its bucket."""
        self.add(int(now // self._granularity_s), value)

    def add(self, bucket: int, value: float) -> None:
        """Add to the bucket of that number."""
        size = self._size
        if bucket == self._last + 1 and size > 1 and self._first != _NEVER:
            # What comes each second for each revision: the oldest bucket becomes the newest.
            place, buckets = bucket % size, self._buckets
            self._total = self._total - buckets[place] + value
            buckets[place] = value
            self._last = bucket
            return
        if bucket != self._last and not self._reaches(bucket):
            return
        self._buckets[bucket % size] += value
        self._total += value

    def _reaches(self, bucket: int) -> bool:
        """Make a newer bucket the last one; whether the bucket is in the window."""
        last = self._last
        if bucket > last:
            self._advance(bucket, last)
        elif (last - bucket) * self._granularity_s >= self.window_s:
            return False
        elif self._first == _NEVER or self._first > bucket:
            self._first = bucket
        return True

    def _advance(self, bucket: int, last: int) -> None:
        """Clear the buckets after the last written one up to the new one."""
        if (bucket - last) * self._granularity_s >= self.window_s:
            self._first = bucket
            self._buckets = _empty(self._size)
            self._total = 0.0
        else:
            if self._first == _NEVER:
                self._first = bucket
            buckets, size = self._buckets, self._size
            for past in range(last + 1, bucket + 1):
                self._total -= buckets[past % size]
                buckets[past % size] = 0.0
        self._last = bucket

    def is_empty(self, now: float) -> bool:
        """True where nothing was recorded within the window."""
        return (int(now // self._granularity_s) - self._last) * self._granularity_s > self.window_s

    def average(self, now: float) -> float:
        """Mean of the buckets written so far within the window, to six decimals; 0 where there are none."""
        last, size = self._last, self._size
        silent = int(now // self._granularity_s) - last
        written = last - self._first + 1  # endless after a resize while silent
        if silent <= 0:
            return _rounded(self._total / (written if written < size else size))
        if silent * self._granularity_s >= self.window_s:
            return 0.0
        rest, buckets = self._total, self._buckets
        for past in range(last + 1, last + silent + 1):
            rest -= buckets[past % size]
        return _rounded(rest / min(written, size - silent))

    def resize(self, window_s: float, now: float) -> None:
        """Change the window's length and keep the newest buckets that fit."""
        if window_s == self.window_s:
            return
        old, size = self._buckets, math.ceil(window_s / self._granularity_s)
        new, total = _empty(size), 0.0
        if self.is_empty(now):
            self._first = _NEVER
        else:
            for bucket in range(self._last, self._last - min(size, len(old)), -1):
                new[bucket % size] = old[bucket % len(old)]
                total += old[bucket % len(old)]
            self._first = self._last - (len(old) - 1)
        self.window_s, self._size, self._buckets, self._total = window_s, size, new, total


class WeightedWindow(LinearWindow):
    """The same ring; newer buckets weigh exponentially more."""

    __slots__ = ("_coefficient",)

    def __init__(self, window_s: float, granularity_s: int = BUCKET_S) -> None:
        super().__init__(window_s, granularity_s)
        self._coefficient = smoothing_coefficient(self._size)

    def average(self, now: float) -> float:
        """Weighted sum of the window's buckets: a steady load reads a little low until the window has filled."""
        if self.is_empty(now):
            return 0.0
        buckets, size, keep, last = self._buckets, self._size, 1 - self._coefficient, self._last
        silent = max(int(now // self._granularity_s) - last, 0)
        weight = self._coefficient * int_power(keep, silent)
        total = 0.0
        for bucket in range(last, last - (size - silent), -1):
            total += buckets[bucket % size] * weight
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


def _empty(size: int) -> array[float]:
    """Numbers in a row: a list of float objects takes four times the memory, and as much longer to reach."""
    return array("d", bytes(8 * size))


def _rounded(value: float) -> float:
    """Six decimals; halves away from zero."""
    if value < 0:
        return round_half_away(value * 1e6) / 1e6
    millionths = value * 1e6
    whole = math.floor(millionths)
    return (whole + 1 if millionths - whole >= 0.5 else whole) / 1e6
