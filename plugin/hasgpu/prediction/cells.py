"""Points of a latency table as arrays, and the grid on which the reference model knows curves. Pure arithmetic.

All curves are straight in logarithms between grid lines, and keep their last slope beyond them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hasgpu.model.profile import Cell

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

GRID_BATCHES: tuple[int, ...] = (1, 2, 4, 8)
GRID_SMS: tuple[int, ...] = tuple(range(5, 101, 5))
GRID_QUOTAS: tuple[int, ...] = tuple(range(10, 101, 10))
WORK_SIZE = len(GRID_BATCHES) * len(GRID_SMS)
CORE_SIZE = WORK_SIZE + len(GRID_QUOTAS)
"""The core of a model: log work on batch x SM, then log launch time on quota."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Points:
    """Cells without their latency, one array for each coordinate."""

    batch: Ints
    sm: Ints
    quota: Ints

    def __len__(self) -> int:
        return len(self.batch)

    def at(self, chosen: NDArray[np.bool_] | Ints | slice) -> Points:
        """Some of them."""
        return Points(batch=self.batch[chosen], sm=self.sm[chosen], quota=self.quota[chosen])

    def work_weights(self) -> Floats:
        """(n, WORK_SIZE): what each grid node contributes to log work at each point."""
        over_batch = line_weights(GRID_BATCHES, self.batch)
        over_sm = line_weights(GRID_SMS, self.sm)
        return (over_batch[:, :, None] * over_sm[:, None, :]).reshape(len(self), WORK_SIZE)

    def launch_weights(self) -> Floats:
        """(n, 10): the same for log launch time."""
        return line_weights(GRID_QUOTAS, self.quota)


def points_of(cells: Iterable[Cell]) -> Points:
    """The coordinates of measured cells."""
    rows = [(cell.batch, cell.sm_percent, cell.quota_percent) for cell in cells]
    table = np.array(rows, dtype=np.int64).reshape(len(rows), 3)
    return Points(batch=table[:, 0], sm=table[:, 1], quota=table[:, 2])


def product_of(batches: Sequence[int], sms: Sequence[int], quotas: Sequence[int]) -> Points:
    """Every combination, quota running fastest, then SM."""
    batch, sm, quota = np.meshgrid(
        np.array(batches, dtype=np.int64),
        np.array(sms, dtype=np.int64),
        np.array(quotas, dtype=np.int64),
        indexing="ij",
    )
    return Points(batch=batch.ravel(), sm=sm.ravel(), quota=quota.ravel())


def line_weights(grid: Sequence[int], at: ArrayLike) -> Floats:
    """(n, len(grid)) weights of a line through the grid's nodes in logarithms; e.g. 20 of (10, 40) is half of each."""
    nodes = np.log(np.asarray(grid, dtype=np.float64))
    log_at = np.log(np.asarray(at, dtype=np.float64))
    right = np.clip(np.searchsorted(nodes, log_at), 1, len(nodes) - 1)
    part = (log_at - nodes[right - 1]) / (nodes[right] - nodes[right - 1])
    weights = np.zeros((len(log_at), len(nodes)))
    rows = np.arange(len(log_at))
    weights[rows, right - 1] = 1.0 - part
    weights[rows, right] = part
    return weights
