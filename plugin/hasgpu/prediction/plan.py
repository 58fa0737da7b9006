"""Which cells to measure: a default plan, and the cells that narrow the interval most for their price. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hasgpu.model.profile import Cell, Measurement

from .cells import GRID_BATCHES, GRID_QUOTAS, GRID_SMS, Points, points_of, product_of
from .field import Field, fit_field
from .rapp import as_launch_cells
from .reference import Reference

INFERENCES = 30
"""In each cell; the published tables took 200."""
PAUSE_S = 0.005
"""Between inferences."""
_CANDIDATE_SMS = (5, 10, 15, 20, 30, 40, 50, 65, 80, 100)
_WORK_PLAN_SMS = (100, 50, 20, 10, 5)
_BETWEEN_SMS = (100, 20)
_WORK_SMS = (5, 50, 20, 100)
_QUOTA_ORDER = (100, 20, 10, 50, 30, 70, 40, 60, 80, 90)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedCell:
    """One cell, and the GPU seconds that measuring it takes."""

    batch: int
    sm: int
    quota: int
    price_s: float


def first_plan(reference: Reference, most: int) -> tuple[PlannedCell, ...]:
    """The best design known of at most 25 cells, in the order of what each brings: both ends of every axis first."""
    ordered: list[tuple[int, int, int]] = [(1, 100, 100), (8, 5, 100), (1, 100, 20), (1, 5, 100), (8, 100, 100)]
    ordered += [(8, sm, 100) for sm in _WORK_SMS]
    ordered += [(1, 100, quota) for quota in _QUOTA_ORDER]
    ordered += [(batch, sm, 100) for batch in (2, 4, 1) for sm in _WORK_SMS]
    chosen = list(dict.fromkeys(ordered))[:most]
    field = fit_field(reference, points_of(()), np.zeros(0))
    return tuple(_priced(field, cell) for cell in chosen)


def work_plan(batches: Sequence[int]) -> tuple[tuple[int, int, int], ...]:
    """Batch, SM share and quota of cells for the gpu-time gate: there the quota's law is known, so work is all."""
    ends = sorted({min(batches), max(batches)})
    cells = [(batch, sm, 100) for sm in _WORK_PLAN_SMS for batch in ends]
    cells += [(batch, sm, 100) for sm in _BETWEEN_SMS for batch in sorted(set(batches) - set(ends))]
    return tuple(cells)


def next_cells(
    reference: Reference, measurement: Measurement, *, most: int, target_percent: float
) -> tuple[PlannedCell, ...]:
    """Greedy: each time the cell that takes most variance off the whole grid for a GPU second; fewer than ``most``
    once the mean half-width of the 90 % interval is at the target."""
    points, log_seconds = as_launch_cells(measurement)
    grid = product_of(GRID_BATCHES, GRID_SMS[1::2], GRID_QUOTAS[::2])
    candidates = product_of(GRID_BATCHES, _CANDIDATE_SMS, GRID_QUOTAS)
    chosen: list[PlannedCell] = []
    field = fit_field(reference, points, log_seconds)
    for _ in range(most):
        half = reference.intervals.factor(len(points)) * field.estimate(grid).deviation
        if 100.0 * float(half.mean()) <= target_percent:
            break
        cell = _best(field, grid, candidates)
        chosen.append(cell)
        # What will be measured there is not known yet; the expected value leaves the middle as it is.
        points = _with(points, cell)
        expected = field.estimate(points.at(slice(len(points) - 1, None))).latency
        log_seconds = np.append(log_seconds, expected)
        field = fit_field(reference, points, log_seconds)
    return tuple(chosen)


def _best(field: Field, grid: Points, candidates: Points) -> PlannedCell:
    gains = field.variance_taken(grid, candidates)
    seconds = np.exp(field.estimate(candidates).latency)
    prices = INFERENCES * (seconds + PAUSE_S)
    index = int(np.argmax(gains / prices))
    return PlannedCell(
        batch=int(candidates.batch[index]),
        sm=int(candidates.sm[index]),
        quota=int(candidates.quota[index]),
        price_s=float(prices[index]),
    )


def _with(points: Points, cell: PlannedCell) -> Points:
    return Points(
        batch=np.append(points.batch, cell.batch),
        sm=np.append(points.sm, cell.sm),
        quota=np.append(points.quota, cell.quota),
    )


def _priced(field: Field, cell: tuple[int, int, int]) -> PlannedCell:
    batch, sm, quota = cell
    at = points_of((Cell(batch=batch, sm_percent=sm, quota_percent=quota, latency_ms=1.0),))
    seconds = float(np.exp(field.estimate(at).latency[0]))
    return PlannedCell(batch=batch, sm=sm, quota=quota, price_s=INFERENCES * (seconds + PAUSE_S))
