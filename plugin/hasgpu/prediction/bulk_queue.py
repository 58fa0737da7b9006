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
_RARE = 1e-9
"""States that are seldomer than that change no tail that anybody asks for."""
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
    grid = np.linspace(0.0, times[0] + _SPAN_BATCHES * times[-1], _GRID)
    step = grid[1] - grid[0]
    reached = np.minimum(np.ceil(values / step - 1e-9).astype(np.intp), _GRID)
    within = np.bincount(reached, weights, _GRID + 1)[:_GRID]
    tail = (1.0 - np.cumsum(within) / weights.sum()).clip(0.0, 1.0)
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
    idle = chance[0]
    seen = chance > _RARE
    left, took, chance = left[seen], took[seen], chance[seen]
    at = (np.arange(_INSTANTS) + 0.5) / _INSTANTS * took[:, None]
    rest = (took[:, None] - at)[:, :, None]
    came = np.arange(_most_likely(rate * times[-1]))
    ahead = left[:, None, None] + came[None, None, :]
    before = rest + ahead // most * times[-1]
    position = np.broadcast_to(ahead % most, before.shape)
    weight = (chance * rate * took)[:, None, None] / _INSTANTS * _poisson(rate * at, len(came))
    # What comes until its own batch begins, joins it.
    joined = _poisson(rate * before, most)
    values, weights = [np.array([times[0]])], [np.array([idle])]  # a request that finds nobody is served at once
    for size in range(1, most + 1):
        fits = position < size
        joins = size - 1 - position[fits]
        part = joined[fits, joins] if size < most else 1.0 - _below(joined[fits], joins)
        values.append(before[fits] + times[size - 1])
        weights.append(weight[fits] * part)
    return np.concatenate(values), np.concatenate(weights)


def _below(chances: Floats, counts: NDArray[np.int64]) -> Floats:
    """P(fewer than so many), line by line."""
    sums = np.concatenate([np.zeros((len(chances), 1)), np.cumsum(chances, axis=1)], axis=1)
    result: Floats = sums[np.arange(len(chances)), counts]
    return result


def _stationary(left: NDArray[np.int64], means: Floats) -> Floats:
    """How many wait when a service ends."""
    size = len(left)
    arrivals = _poisson(means, size)
    chain = np.zeros((size, size))
    for state in range(size):
        chain[state, left[state] :] = arrivals[state, : size - left[state]]
        chain[state, -1] += 1.0 - chain[state].sum()
    # One balance follows from the others: what all chances add up to stands in its place.
    balance = chain.T - np.eye(size)
    balance[-1] = 1.0
    found = np.linalg.solve(balance, np.append(np.zeros(size - 1), 1.0))
    result: Floats = np.maximum(found, 0.0)
    return result


def _most_likely(mean: float) -> int:
    """More than so many come hardly ever, where so many are expected."""
    return int(mean + 8.0 * math.sqrt(mean) + 12.0)


def _poisson(means: Floats, size: int) -> Floats:
    """P(0), P(1), ... along a new last axis."""
    counts = np.arange(size)
    log_factorials = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, size)))])
    logs = counts * np.log(np.maximum(means, 1e-12))[..., None] - means[..., None] - log_factorials
    result: Floats = np.exp(logs)
    return result
