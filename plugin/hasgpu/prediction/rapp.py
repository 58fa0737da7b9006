"""RaPP: the latency of one model at any slice, from whatever cells were measured, with a 90 % interval. Pure.

Fitting lays a table, monotone in SM and quota; predicting reads it between its lines. Under the launch gate the table
is the latency itself; under the gpu-time gate latency follows from its column at quota 100, the window and the quota.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hasgpu.model.profile import Cell, Gate, Measurement

from .cells import GRID_BATCHES, GRID_QUOTAS, GRID_SMS, Points, line_weights, product_of
from .correction import corrected
from .field import Estimate, Field, fit_field
from .monotone import falling_table
from .quota_law import mean_latency_s, work_from_latency_s
from .reference import Reference

Floats = NDArray[np.float64]

LEAST_HALF_WIDTH = 0.005
"""Relative; no label is better known."""
_MOST_BATCH = 64
_LEAST_QUOTA = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """Seconds at points, and the edges of a 90 % interval."""

    latency_s: Floats
    low_s: Floats
    high_s: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class RappTable:
    """What a fit leaves: log seconds on batches x SMs x quotas, and the half-width of the interval of the logarithm."""

    gate: Gate
    """The gate that was in force while measuring."""
    window_s: float
    measured: int
    batches: tuple[int, ...]
    sms: tuple[int, ...]
    quotas: tuple[int, ...]
    log_latency: Floats
    half_width: Floats
    log_high: Floats
    """The interval's upper edge, which never rises with SM or quota either."""
    spans: tuple[tuple[int, int], ...]
    """Least and greatest measured batch, SM and quota."""

    def predict(self, at: Points, gate: Gate | None = None) -> Prediction:
        """Latency of lone inferences under a gate; by default the one that was measured under."""
        launch = (gate or self.gate) == "launch"
        read = at if launch else Points(batch=at.batch, sm=at.sm, quota=np.full(len(at), 100))
        tables = self._read(read, self.log_latency, self.log_latency - self.half_width, self.log_high)
        told = [np.exp(log_seconds) for log_seconds in tables]
        if not launch:
            told = [mean_latency_s(seconds, at.quota / 100.0, self.window_s) for seconds in told]
        middle_s, low_s, high_s = told
        return Prediction(latency_s=middle_s, low_s=low_s, high_s=high_s)

    def within_cells(self, at: Points) -> NDArray[np.bool_]:
        """True where a point lies between the measured cells on every axis; elsewhere it is extrapolated."""
        inside = np.ones(len(at), dtype=np.bool_)
        for (low, high), values in zip(self.spans, (at.batch, at.sm, at.quota), strict=True):
            inside &= (low <= values) & (values <= high)
        return inside

    def _read(self, at: Points, *tables: Floats) -> list[Floats]:
        over_batch, over_sm = line_weights(self.batches, at.batch), line_weights(self.sms, at.sm)
        nodes = (over_batch[:, :, None] * over_sm[:, None, :]).reshape(len(at), len(self.batches) * len(self.sms))
        over_quota = line_weights(self.quotas, at.quota)
        by_quota = [over_quota @ table.reshape(-1, len(self.quotas)).T for table in tables]
        return [(nodes * values).sum(axis=1) for values in by_quota]


def fit_rapp(
    reference: Reference,
    measurement: Measurement,
    *,
    statics: Mapping[str, float] | None = None,
    at: Points | None = None,
) -> RappTable:
    """The table of one model on one GPU product; ``at``: points that shall lie on its lines."""
    points, log_seconds = as_launch_cells(measurement)
    known = reference.given(statics)
    batches = _lines(GRID_BATCHES, points.batch, at.batch if at else (), _MOST_BATCH)
    sms = _lines(GRID_SMS, points.sm, at.sm if at else (), 100)
    quotas = _lines((_LEAST_QUOTA, *GRID_QUOTAS), points.quota, at.quota if at else (), 100)
    shape = (len(batches), len(sms), len(quotas))
    grid = product_of(batches, sms, quotas)
    estimate = corrected(fit_field(known, points, log_seconds), grid)
    if measurement.gate == "gpu-time":
        estimate = _of_work(fit_field(known.of_work_alone(), points, log_seconds), grid, estimate)
    deviation = estimate.deviation.reshape(shape)
    log_latency = falling_table(estimate.latency.reshape(shape), deviation**-2)
    half_width = np.maximum(reference.intervals.factor(len(points)) * deviation, LEAST_HALF_WIDTH)
    if measurement.gate == "gpu-time" and len(points):
        half_width = np.maximum(half_width, _short_of_linear(log_latency, sms, int(points.sm.min())))
    return RappTable(
        gate=measurement.gate,
        window_s=measurement.window_ms / 1000.0,
        measured=len(measurement.cells),
        batches=batches,
        sms=sms,
        quotas=quotas,
        log_latency=log_latency,
        half_width=half_width,
        log_high=falling_table(log_latency + half_width, half_width**-2),
        spans=tuple(_span(values) for values in (points.batch, points.sm, points.quota)),
    )


def left_one_out(
    reference: Reference, measurement: Measurement, *, statics: Mapping[str, float] | None = None
) -> Floats:
    """For each cell, the logarithm of what the others predict over what was measured."""
    points, log_seconds = as_launch_cells(measurement)
    known = reference.given(statics)
    known = known.of_work_alone() if measurement.gate == "gpu-time" else known
    field = fit_field(known, points, log_seconds)
    result: Floats = field.without_itself().latency - log_seconds
    return result


def _of_work(field: Field, grid: Points, launched: Estimate) -> Estimate:
    """Under the gpu-time gate only work shows: at quota 100 that, below it what the launch gate would make of it."""
    known = field.estimate(grid)
    whole = grid.quota == 100
    return Estimate(
        work=known.work,
        launch=launched.launch,
        latency=np.where(whole, known.work, np.maximum(known.work, launched.launch)),
        deviation=np.where(whole, known.deviation, launched.deviation),
    )


def _short_of_linear(log_latency: Floats, sms: Sequence[int], least_sm: int) -> Floats:
    """How far, below the least share that was measured, time is short of growing as 1/SM: a bound nobody disproved."""
    known = sms.index(least_sm)
    linear = log_latency[:, known : known + 1] + np.log(least_sm / np.array(sms, dtype=np.float64))[None, :, None]
    linear[:, known:] = -np.inf
    result: Floats = linear - log_latency
    return result


def _span(values: NDArray[np.int64]) -> tuple[int, int]:
    return (int(values.min()), int(values.max())) if len(values) else (0, -1)


def as_launch_cells(measurement: Measurement) -> tuple[Points, Floats]:
    """Cells as the field reads them: under the gpu-time gate each tells the work, that is the latency at quota 100."""
    cells = measurement.cells
    if measurement.gate == "gpu-time":
        cells = tuple(_whole(cell, measurement.window_ms / 1000.0) for cell in cells)
    rows = np.array([(c.batch, c.sm_percent, c.quota_percent) for c in cells], dtype=np.int64).reshape(len(cells), 3)
    seconds = np.array([c.latency_ms for c in cells]) / 1000.0
    return Points(batch=rows[:, 0], sm=rows[:, 1], quota=rows[:, 2]), np.log(seconds)


def _whole(cell: Cell, window_s: float) -> Cell:
    if cell.quota_percent == 100:
        return cell
    work_s = work_from_latency_s(cell.latency_ms / 1000.0, cell.quota_percent / 100.0, window_s)
    return Cell(batch=cell.batch, sm_percent=cell.sm_percent, quota_percent=100, latency_ms=max(work_s * 1000.0, 1e-3))


def _lines(grid: Sequence[int], measured: Iterable[int], wanted: Iterable[int], most: int) -> tuple[int, ...]:
    return tuple(sorted({*grid, *(int(x) for x in measured), *(int(x) for x in wanted if x <= most)}))
