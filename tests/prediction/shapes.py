"""A model with a known surface: latency = max(work, launch time), and a reference that knows nothing of it."""

from __future__ import annotations

import numpy as np
from hasgpu.model.profile import Cell, Gate, Measurement
from hasgpu.prediction.cells import GRID_BATCHES, GRID_QUOTAS, GRID_SMS, Points, product_of
from hasgpu.prediction.reference import Reference, first_guess
from numpy.typing import NDArray

PRODUCT = "Tesla-V100-SXM2-16GB"
GRID = product_of(GRID_BATCHES, GRID_SMS, GRID_QUOTAS)


def reference() -> Reference:
    """Before anything was learnt."""
    return first_guess(np.log(0.2), np.log(np.array([0.2, 0.08, 0.05, 0.04, 0.03, 0.025, 0.022, 0.02, 0.02, 0.02])))


def true_ms(at: Points) -> NDArray[np.float64]:
    """16 ms of work for each image on the whole GPU, and 10 ms to launch."""
    work = 16.0 * at.batch * (100.0 / at.sm) ** 0.9
    launch = 10.0 * (100.0 / at.quota) ** 1.1
    result: NDArray[np.float64] = np.maximum(work, launch)
    return result


def measured(*rows: tuple[int, int, int], gate: Gate = "launch") -> Measurement:
    """These cells of it, without noise."""
    cells = []
    for batch, sm, quota in rows:
        at = product_of((batch,), (sm,), (quota,))
        cells.append(Cell(batch=batch, sm_percent=sm, quota_percent=quota, latency_ms=float(true_ms(at)[0])))
    return Measurement(gpu_product=PRODUCT, gate=gate, window_ms=40.0, cells=tuple(cells))


PLAN = (
    *((1, 100, quota) for quota in GRID_QUOTAS),
    *((batch, sm, 100) for batch in GRID_BATCHES for sm in (5, 20, 50, 100) if (batch, sm) != (1, 100)),
)
