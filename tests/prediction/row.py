"""One pod of a row served exactly: Poisson arrivals, who waits is answered together, slots of the gpu-time gate."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence

import numpy as np
from hasgpu.prediction.quota_law import period_s
from numpy.typing import NDArray


def served_latencies_s(
    rate: float,
    works_s: Sequence[float],
    quota: float,
    window_s: float,
    requests: int,
    seed: int,
    grace_s: float = 0.0,
    gap_s: float = 0.0,
) -> NDArray[np.float64]:
    """Seconds from arrival to completion of each request; ``works_s`` of 1, 2, ... requests at once. Written apart
    from the law it checks. With a grace, slot time that was not used is saved, up to a period's share, and may be
    spent so far past later slots. With a gap, the server takes that long between two inferences."""
    period = float(period_s(quota, window_s))
    slot, most = quota * period, quota * max(window_s, period)
    arrivals = np.cumsum(np.random.default_rng(seed).exponential(1.0 / rate, requests)).tolist()
    latencies = np.empty(requests)
    free_at, first, saved, seen_at = 0.0, 0, most, 0.0
    while first < requests:
        at = max(arrivals[first], free_at)
        waiting = bisect_right(arrivals, at, first) - first
        count = min(max(waiting, 1), len(works_s))
        left = float(works_s[count - 1])
        while left > 1e-12:
            start = math.floor(at / period + 1e-9) * period
            usable = max(start + slot - at, 0.0)
            if grace_s > 0.0:
                saved = min(most, saved + _owned(seen_at, at, period, slot))
                usable = min(usable + saved, max(start + min(slot + grace_s, period) - at, 0.0))
            done = min(usable, left)
            left -= done
            if grace_s > 0.0:
                saved, seen_at = saved + _owned(at, at + done, period, slot) - done, at + done
            at = at + done if left <= 1e-12 else start + period
        free_at = at + gap_s
        for index in range(first, first + count):
            latencies[index] = at - arrivals[index]
        first += count
    return latencies


def _owned(since: float, until: float, period: float, slot: float) -> float:
    """Slot time between two instants."""
    ends = [math.floor(at / period) * slot + min(at - math.floor(at / period) * period, slot) for at in (since, until)]
    return ends[1] - ends[0]
