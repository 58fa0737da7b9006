"""The nearest falling curve: pool adjacent violators. Pure arithmetic."""

from __future__ import annotations

from collections.abc import Sequence


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
