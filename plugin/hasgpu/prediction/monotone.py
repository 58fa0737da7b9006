"""The nearest falling curve (pool adjacent violators), and a quick falling table. Pure arithmetic."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def falling(values: Sequence[float]) -> tuple[float, ...]:
    """The non-increasing sequence nearest in least squares, e.g. (3, 1, 2) gives (3, 1.5, 1.5)."""
    pools: list[tuple[float, int]] = []
    for value in values:
        mean, size = value, 1
        while pools and pools[-1][0] < mean:
            before, count = pools.pop()
            mean, size = (before * count + mean * size) / (count + size), count + size
        pools.append((mean, size))
    return tuple(mean for mean, size in pools for _ in range(size))


def falling_table(table: Floats, trust: Floats) -> Floats:
    """The same never rising along its last two axes, moving what is trusted most the least.

    Lines are pooled along SM, then along quota; what the second pass broke of the first is cut halfway.
    """
    along_sm = _pooled(np.swapaxes(table, -1, -2), np.swapaxes(trust, -1, -2))
    result = _pooled(np.swapaxes(along_sm, -1, -2), trust)
    for axis in (-2, -1):
        below = np.minimum.accumulate(result, axis=axis)
        above = np.flip(np.maximum.accumulate(np.flip(result, axis=axis), axis=axis), axis=axis)
        result = (below + above) / 2.0
    return result


def _pooled(table: Floats, trust: Floats) -> Floats:
    lines = table.reshape(-1, table.shape[-1])
    weights = trust.reshape(lines.shape)
    pooled = [falling_weighted(line, weight) for line, weight in zip(lines.tolist(), weights.tolist(), strict=True)]
    return np.array(pooled).reshape(table.shape)


def falling_weighted(values: Sequence[float], weights: Sequence[float]) -> tuple[float, ...]:
    """The non-increasing sequence nearest in weighted least squares."""
    pools: list[tuple[float, float, int]] = []
    for value, weight in zip(values, weights, strict=True):
        mean, mass, size = value, weight, 1
        while pools and pools[-1][0] < mean:
            before, heavier, count = pools.pop()
            mean, mass, size = (before * heavier + mean * mass) / (heavier + mass), heavier + mass, count + size
        pools.append((mean, mass, size))
    return tuple(mean for mean, _, size in pools for _ in range(size))
