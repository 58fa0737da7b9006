"""Process fitter: which cells a model has been measured at, in training and in evaluation. Seeded."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hasgpu.prediction.cells import Points

Bools = NDArray[np.bool_]

DESIGNS: tuple[int, ...] = (0, 3, 12, 25, 116)
"""By their number of cells on the published grid (4 batches x 20 SMs x 10 quotas)."""


def design(points: Points, cells: int) -> Bools:
    """The cells of a named design among the points: a full column of quotas and lines of work at quota 100."""
    chosen: Bools
    batch, sm, quota = points.batch, points.sm, points.quota
    whole, lone = quota == 100, (batch == 1) & (sm == 100)
    match cells:
        case 0:
            chosen = np.zeros(len(points), dtype=np.bool_)
        case 3:
            chosen = (lone & np.isin(quota, (20, 100))) | (whole & (batch == 8) & (sm == 5))
        case 12:
            work = ((batch == 8) & np.isin(sm, (5, 15, 40, 100))) | ((batch == 1) & np.isin(sm, (5, 100)))
            chosen = (whole & work) | (lone & np.isin(quota, (10, 20, 30, 40, 60, 80)))
        case 25:
            chosen = lone | (whole & np.isin(sm, (5, 20, 50, 100)))
        case 116:
            chosen = whole | (sm == 100)
        case _:
            raise ValueError(f"no design of {cells} cells; there are {DESIGNS}")
    return chosen


def scattered(points: Points, part: float, seed: int) -> Bools:
    """A random part of the cells."""
    chosen: Bools = np.random.default_rng(seed).random(len(points)) < part
    return chosen
