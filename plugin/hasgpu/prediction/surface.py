"""The latency surface of one model on one GPU product, from whatever cells were measured. Pure arithmetic.

``work_s(batch, sm)`` is g: GPU time of one inference. It never rises with SM and never falls with batch.
Between cells it is interpolated in logarithms; beyond them the careful side is taken (fewer SMs: time as 1/SM;
more SMs: no faster; larger batch: time as batch; smaller: no faster), and ``spread`` says that it is a guess.
``launch_s(quota)`` is h: how long the host needs to launch everything under the launch gate (design §7).
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from hasgpu.model.profile import Cell, LatencyProfile, Measurement

from .monotone import falling
from .quota_law import work_from_latency_s

NEAR_SPREAD = 0.05
"""Relative half-width of the interval between cells: the label noise of measured tables is 3 to 5 percent."""
FAR_SPREAD = 0.15
"""The same beyond the cells."""
FOREIGN_SPREAD = 0.5
"""The same where only another GPU product was measured."""

_GATE_BOUND = 1.1
"""A launch-gate cell this much above g shows the host's launch time, not the GPU's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One curve through measured points, straight in logarithms, with a slope of its own beyond each end."""

    at: tuple[float, ...]
    log_seconds: tuple[float, ...]
    slope_below: float
    slope_above: float

    def seconds(self, x: float) -> float:
        """The curve's value at ``x``."""
        return math.exp(self._log(math.log(x)))

    def covers(self, x: float) -> bool:
        """True where ``x`` lies among the measured points."""
        return self.at[0] - 1e-9 <= math.log(x) <= self.at[-1] + 1e-9

    def _log(self, log_x: float) -> float:
        if log_x <= self.at[0]:
            return self.log_seconds[0] + self.slope_below * (log_x - self.at[0])
        if log_x >= self.at[-1]:
            return self.log_seconds[-1] + self.slope_above * (log_x - self.at[-1])
        right = bisect_left(self.at, log_x)
        part = (log_x - self.at[right - 1]) / (self.at[right] - self.at[right - 1])
        return self.log_seconds[right - 1] * (1.0 - part) + self.log_seconds[right] * part


@dataclass(frozen=True, slots=True, kw_only=True)
class Surface:
    """g and h of one model on one GPU product."""

    batches: tuple[int, ...]
    over_sm: tuple[Line, ...]
    """For each measured batch: GPU seconds over SM percent."""
    over_quota: Line | None
    """Launch seconds over quota percent; None where no launch-gate cell shows it."""
    foreign: bool = False
    """True where the cells are another GPU product's."""
    spreads: tuple[Line, ...] = ()
    """For each batch: relative half-width over SM percent, where a fit has calibrated it."""
    launch_spreads: Line | None = None
    """Relative half-width of the interval around ``launch_s``, over SM percent."""

    def work_s(self, batch: int, sm_percent: int) -> float:
        """g: GPU seconds of one inference of ``batch`` requests at an SM share."""
        by_batch = [line.seconds(sm_percent) for line in self.over_sm]
        for index in range(1, len(by_batch)):
            by_batch[index] = max(by_batch[index], by_batch[index - 1])
        return _line(self.batches, by_batch, slope_below=0.0, slope_above=1.0).seconds(batch)

    def launch_s(self, quota_percent: int) -> float:
        """h: seconds to launch one inference under the launch gate; without measurement as 1/quota of g's floor."""
        if self.over_quota is not None:
            return self.over_quota.seconds(quota_percent)
        return self.work_s(self.batches[0], 100) * 100.0 / quota_percent

    def launch_spread(self, sm_percent: int) -> float:
        """Relative half-width of the interval around ``launch_s`` on an SM share; measured is mostly the whole GPU."""
        return self.launch_spreads.seconds(sm_percent) if self.launch_spreads is not None else 0.0

    def spread(self, batch: int, sm_percent: int) -> float:
        """Relative half-width of the interval around ``work_s``."""
        right = min(bisect_left(self.batches, batch), len(self.batches) - 1)
        if self.spreads:
            own = max(line.seconds(sm_percent) for line in self.spreads[max(right - 1, 0) : right + 1])
            return max(own, FOREIGN_SPREAD) if self.foreign else own
        if self.foreign:
            return FOREIGN_SPREAD
        around = self.over_sm[max(right - 1, 0) : right + 1]
        inside = self.batches[0] <= batch <= self.batches[-1] and any(line.covers(sm_percent) for line in around)
        return NEAR_SPREAD if inside else FAR_SPREAD

    def scaled(self, factor: float) -> Surface:
        """The same shape, ``factor`` times as slow: how a level learnt from traffic is applied."""
        shift = math.log(factor)
        return Surface(
            batches=self.batches,
            over_sm=tuple(_shifted(line, shift) for line in self.over_sm),
            over_quota=self.over_quota,
            foreign=self.foreign,
            spreads=self.spreads,
            launch_spreads=self.launch_spreads,
        )


def fit_surface(profile: LatencyProfile, gpu_product: str) -> Surface | None:
    """The surface of a profile on a GPU product; None where the profile has no cell at all.

    Cells of the very product win; otherwise another's are used, marked ``foreign``.
    """
    serving = profile.product_serving(gpu_product)
    if serving is None:
        return None
    chosen = profile.measured_on(serving)
    work = _work_by_cell(chosen)
    batches = tuple(sorted({batch for batch, _ in work}))
    lines = tuple(_sm_line({sm: s for (b, sm), s in work.items() if b == batch}) for batch in batches)
    return Surface(
        batches=batches, over_sm=lines, over_quota=_launch_line(chosen, work), foreign=serving != gpu_product
    )


def surface_of_work(batch: int, sm_percent: int, work_s: float) -> Surface:
    """A surface from a single observation, careful on every side."""
    return Surface(batches=(batch,), over_sm=(_sm_line({sm_percent: work_s}),), over_quota=None)


def _work_by_cell(measurements: Sequence[Measurement]) -> dict[tuple[int, int], float]:
    """GPU seconds by (batch, SM): the highest quota of each tells most, since latency there is nearest to g."""
    best: dict[tuple[int, int], tuple[int, list[float]]] = {}
    for measurement in measurements:
        for cell in measurement.cells:
            quota, seen = best.get((cell.batch, cell.sm_percent), (0, []))
            if cell.quota_percent > quota:
                best[(cell.batch, cell.sm_percent)] = (cell.quota_percent, [_work_s(cell, measurement)])
            elif cell.quota_percent == quota:
                seen.append(_work_s(cell, measurement))
    return {key: median(seen) for key, (_, seen) in best.items()}


def _work_s(cell: Cell, measurement: Measurement) -> float:
    seconds = cell.latency_ms / 1000.0
    if measurement.gate == "launch" or cell.quota_percent == 100:
        return seconds
    return work_from_latency_s(seconds, cell.quota_percent / 100.0, measurement.window_ms / 1000.0)


def _launch_line(measurements: Sequence[Measurement], work: dict[tuple[int, int], float]) -> Line | None:
    """h from launch-gate cells that lie clearly above g; at 100 percent it is the fastest cell: the host's own pace."""
    seen: dict[int, list[float]] = {}
    for cell in _launch_cells(measurements):
        seconds = cell.latency_ms / 1000.0
        if cell.quota_percent < 100 and seconds > _GATE_BOUND * work[(cell.batch, cell.sm_percent)]:
            seen.setdefault(cell.quota_percent, []).append(seconds)
    if not seen:
        return None
    seen.setdefault(100, [min(work.values())])
    quotas = sorted(seen)
    return _line(quotas, falling([median(seen[q]) for q in quotas]), slope_below=-1.0, slope_above=0.0)


def _launch_cells(measurements: Sequence[Measurement]) -> Iterable[Cell]:
    return (cell for m in measurements if m.gate == "launch" for cell in m.cells)


def _sm_line(seconds_by_sm: dict[int, float]) -> Line:
    sms = sorted(seconds_by_sm)
    logs = falling([math.log(seconds_by_sm[sm]) for sm in sms])
    return Line(
        at=tuple(math.log(sm) for sm in sms),
        log_seconds=logs,
        slope_below=-1.0,
        slope_above=0.0,
    )


def _line(at: Sequence[float], seconds: Sequence[float], *, slope_below: float, slope_above: float) -> Line:
    return Line(
        at=tuple(math.log(x) for x in at),
        log_seconds=tuple(math.log(s) for s in seconds),
        slope_below=slope_below,
        slope_above=slope_above,
    )


def _shifted(line: Line, shift: float) -> Line:
    return Line(
        at=line.at,
        log_seconds=tuple(value + shift for value in line.log_seconds),
        slope_below=line.slope_below,
        slope_above=line.slope_above,
    )
