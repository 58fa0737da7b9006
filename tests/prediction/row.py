"""One pod of a row served exactly: Poisson arrivals, who waits is answered together, slots of the gpu-time gate."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hasgpu.prediction.quota_law import period_s
from numpy.typing import NDArray


def served_latencies_s(
    rate: float, works_s: Sequence[float], quota: float, window_s: float, requests: int, seed: int
) -> NDArray[np.float64]:
    """Seconds from arrival to completion of each request; ``works_s`` of 1, 2, ... requests at once. Written apart
    from the law it checks."""
    period = float(period_s(quota, window_s))
    slot = quota * period
    arrivals = np.cumsum(np.random.default_rng(seed).exponential(1.0 / rate, requests))
    latencies = np.empty(requests)
    free_at, first = 0.0, 0
    while first < requests:
        at = max(arrivals[first], free_at)
        waiting = int(np.searchsorted(arrivals, at, side="right")) - first
        count = min(max(waiting, 1), len(works_s))
        left = works_s[count - 1]
        while left > 1e-12:
            start = np.floor(at / period + 1e-9) * period
            usable = max(start + slot - at, 0.0)
            done = min(usable, left)
            left -= done
            at = at + done if left <= 1e-12 else start + period
        free_at = at
        latencies[first : first + count] = free_at - arrivals[first : first + count]
        first += count
    return latencies
