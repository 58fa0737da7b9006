"""One pod of a row served exactly: Poisson arrivals, first come first served, slots of the gpu-time gate."""

from __future__ import annotations

import numpy as np
from hasgpu.prediction.quota_law import period_s
from numpy.typing import NDArray


def served_latencies_s(
    rate: float, work_s: float, quota: float, window_s: float, requests: int, seed: int
) -> NDArray[np.float64]:
    """Seconds from arrival to completion of each request; written apart from the law it checks."""
    period = float(period_s(quota, window_s))
    slot = quota * period
    arrivals = np.cumsum(np.random.default_rng(seed).exponential(1.0 / rate, requests))
    latencies = np.empty(requests)
    free_at = 0.0
    for index, arrival in enumerate(arrivals):
        at, left = max(arrival, free_at), work_s
        while left > 1e-12:
            start = np.floor(at / period + 1e-9) * period
            usable = max(start + slot - at, 0.0)
            done = min(usable, left)
            left -= done
            at = at + done if left <= 1e-12 else start + period
        free_at = at
        latencies[index] = free_at - arrival
    return latencies
