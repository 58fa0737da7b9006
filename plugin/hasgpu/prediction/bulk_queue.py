"""Waiting in front of a pod that batches: who waits when an inference ends is answered by the next. Pure arithmetic.

Poisson arrivals, services that take ``times[k-1]`` for k requests, in units of a lone one's. The number waiting when a
service ends is a Markov chain; a request that arrives during a service waits for its rest, for full batches before its
own, and for its own. ``sojourn_tail(times, load, x)`` is P(wait and service > x).
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LOADS: tuple[float, ...] = (0.0, 0.02, 0.05, *(round(0.1 * i, 2) for i in range(1, 9)), 0.85, 0.9, 0.95, 0.98)
"""Parts of what full batches could do at which capacity is tried."""
_INSTANTS = 12
"""Of a service at which a request is tried: the middles of equal parts."""
_GRID = 240
_SPAN_BATCHES = 8.0


def most_load(times: tuple[float, ...]) -> float:
    """Requests in the time of a lone service that full batches can do."""
    return len(times) / times[-1]


def sojourn_tail(times: tuple[float, ...], load: float, sojourns: Floats) -> Floats:
    """P(sojourn > x) for each x, at a part of ``most_load``; the last decay goes on beyond the grid."""
    if load <= 0.0:
        return np.where(sojourns < 1.0, 1.0, 0.0)
    grid, tail, decay = _tail_table(times, load)
    beyond = tail[-1] * np.exp(-decay * np.maximum(sojourns - grid[-1], 0.0))
    result: Floats = np.where(sojourns < grid[-1], np.interp(sojourns, grid, tail), beyond)
    return result


@lru_cache(maxsize=4096)
def _tail_table(times: tuple[float, ...], load: float) -> tuple[Floats, Floats, float]:
    rate = load * most_load(times)
    values, weights = _sojourns(np.array(times), rate)
    order = np.argsort(values)
    values, weights = values[order], weights[order]
    above = 1.0 - np.cumsum(weights) / weights.sum()
    grid = np.linspace(0.0, times[0] + _SPAN_BATCHES * times[-1], _GRID)
    index = np.searchsorted(values, grid, side="right") - 1
    tail = np.where(index < 0, 1.0, above[np.maximum(index, 0)]).clip(0.0, 1.0)
    middle = tail[len(grid) // 2]
    decay = math.log(max(middle, 1e-12) / max(tail[-1], 1e-12)) / (grid[-1] - grid[len(grid) // 2])
    return grid, tail, max(decay, 1e-3)


def _sojourns(times: Floats, rate: float) -> tuple[Floats, Floats]:
    """Every way a request can come, with its weight."""
    most = len(times)
    states = np.arange(6 * most + 20)
    served = np.clip(states, 1, most)
    left = np.maximum(states - most, 0)
    took = times[served - 1]
    chance = _stationary(left, rate * took)
    at = (np.arange(_INSTANTS) + 0.5) / _INSTANTS * took[:, None]
    rest = (took[:, None] - at)[:, :, None]
    came = np.arange(len(states))
    ahead = left[:, None, None] + came[None, None, :]
    full = ahead // most
    before = rest + full * times[-1]
    # What comes until its own batch begins, joins it: by its mean.
    size = np.clip(ahead + 1 + rate * before - full * most, ahead + 1 - full * most, most)
    value = before + np.interp(size, np.arange(1, most + 1), times)
    weight = (chance * rate * took)[:, None, None] / _INSTANTS * _poisson(rate * at, len(came))
    # A request that finds nobody begins a service of its own.
    return np.append(value.ravel(), times[0]), np.append(weight.ravel(), chance[0])


def _stationary(left: NDArray[np.int64], means: Floats) -> Floats:
    """How many wait when a service ends."""
    size = len(left)
    arrivals = _poisson(means, size)
    chain = np.zeros((size, size))
    for state in range(size):
        chain[state, left[state] :] = arrivals[state, : size - left[state]]
        chain[state, -1] += 1.0 - chain[state].sum()
    balance = np.vstack([chain.T - np.eye(size), np.ones(size)])
    found, *_ = np.linalg.lstsq(balance, np.append(np.zeros(size), 1.0), rcond=None)
    result: Floats = np.maximum(found, 0.0)
    return result


def _poisson(means: Floats, size: int) -> Floats:
    """P(0), P(1), ... along a new last axis."""
    counts = np.arange(size)
    log_factorials = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, size)))])
    logs = counts * np.log(np.maximum(means, 1e-12))[..., None] - means[..., None] - log_factorials
    result: Floats = np.exp(logs)
    return result
