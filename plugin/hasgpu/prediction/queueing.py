"""Waiting in front of one pod: the M/D/1 queue. Pure arithmetic.

``waiting_tail(load, x)`` is P(wait > x service times) of Poisson arrivals at utilisation ``load``. Up to EXACT
service times it is Erlang's sum, beyond it the exact exponential decay, so that it is quick, smooth and stable.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LOADS: tuple[float, ...] = (
    0.0,
    0.005,
    0.01,
    0.02,
    0.035,
    *(round(0.05 + 0.025 * i, 3) for i in range(37)),
    0.965,
    0.98,
)
"""Utilisations at which capacity is tried."""

EXACT = 7.0
_STEP = 0.05


def waiting_tail(load: float, waits: Floats) -> Floats:
    """P(wait > x) for each x in service times; 1 for a negative x: such a request is late already."""
    if load <= 0.0:
        return np.where(waits < 0.0, 1.0, 0.0)
    grid, tail, decay = _tail_table(load)
    inside = np.interp(waits, grid, tail)
    beyond = tail[-1] * np.exp(-decay * np.maximum(waits - EXACT, 0.0))
    result: Floats = np.where(waits < 0.0, 1.0, np.where(waits <= EXACT, inside, beyond))
    return result


@lru_cache(maxsize=256)
def _tail_table(load: float) -> tuple[Floats, Floats, float]:
    grid = np.arange(0.0, EXACT + _STEP / 2, _STEP)
    tail = np.array([1.0 - _erlang(load, float(x)) for x in grid])
    return grid, np.minimum.accumulate(np.clip(tail, 0.0, 1.0)), _decay(load)


def _erlang(load: float, x: float) -> float:
    """P(wait <= x): (1 - r) sum over j <= x of (-r (x - j))^j / j! e^(r (x - j))."""
    terms = (
        (-load * (x - j)) ** j / math.factorial(j) * math.exp(load * (x - j)) for j in range(math.floor(x + 1e-9) + 1)
    )
    return (1.0 - load) * sum(terms)


def _decay(load: float) -> float:
    """The n > 0 with load (e^n - 1) = n: how fast the tail falls for each service time."""
    low, high = 1e-9, 2.0
    while load * math.expm1(high) < high:
        high *= 2.0
    for _ in range(80):
        middle = (low + high) / 2.0
        if load * math.expm1(middle) < middle:
            low = middle
        else:
            high = middle
    return low
