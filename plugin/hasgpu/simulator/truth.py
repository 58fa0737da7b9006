"""Process simulator: what the simulated GPU does: seconds of one inference by (batch, SM, quota). Pure arithmetic.

Cells are taken as they were measured, under the launch gate; between them the logarithm is straight. Beyond them:
fewer SMs take 1/SM as long, more SMs are no faster, larger batches take as much longer as they are larger.
Under the gpu-time gate an inference is ``work_s`` of GPU time, and the gate stretches it.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import Protocol

from hasgpu.model.profile import Cell
from hasgpu.prediction.surface import Surface


class Source(Protocol):
    """Where seconds come from."""

    def work_s(self, batch: int, sm: int) -> float:
        """GPU time of one inference."""

    def launch_s(self, batch: int, sm: int, quota: int) -> float:
        """Latency of one inference alone on its row under the launch gate."""


class Truth:
    """One function's device behaviour, remembered as it is asked for."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._works: dict[tuple[int, int], float] = {}
        self._launches: dict[tuple[int, int, int], float] = {}

    def work_s(self, batch: int, sm_percent: int) -> float:
        """GPU time of one inference."""
        key = (batch, sm_percent)
        if key not in self._works:
            self._works[key] = self._source.work_s(batch, sm_percent)
        return self._works[key]

    def launch_s(self, batch: int, sm_percent: int, quota_percent: int) -> float:
        """Latency of one inference alone on its row under the launch gate."""
        key = (batch, sm_percent, quota_percent)
        if key not in self._launches:
            self._launches[key] = self._source.launch_s(batch, sm_percent, quota_percent)
        return self._launches[key]


def truth_of_cells(cells: Iterable[Cell]) -> Truth:
    """The truth of a measured table."""
    by_key: dict[tuple[int, int, int], list[float]] = {}
    for cell in cells:
        key = (cell.batch, cell.sm_percent, cell.quota_percent)
        by_key.setdefault(key, []).append(cell.latency_ms / 1000.0)
    return Truth(_Grid({key: sum(seen) / len(seen) for key, seen in by_key.items()}))


def truth_of_surface(surface: Surface) -> Truth:
    """The truth where only a profile says anything."""
    return Truth(_OfSurface(surface))


class _OfSurface:
    def __init__(self, surface: Surface) -> None:
        self._surface = surface

    def work_s(self, batch: int, sm: int) -> float:
        return self._surface.work_s(batch, sm)

    def launch_s(self, batch: int, sm: int, quota: int) -> float:
        return max(self._surface.work_s(batch, sm), self._surface.launch_s(quota))


class _Grid:
    """Cells by batch, SM and quota; lines that lack a cell are filled from their neighbours."""

    def __init__(self, seconds: dict[tuple[int, int, int], float]) -> None:
        self._batches = sorted({batch for batch, _, _ in seconds})
        self._lines: dict[int, dict[int, tuple[list[int], list[float]]]] = {}
        for batch, sm, quota in sorted(seconds):
            quotas, logs = self._lines.setdefault(batch, {}).setdefault(sm, ([], []))
            quotas.append(quota)
            logs.append(math.log(seconds[batch, sm, quota]))

    def work_s(self, batch: int, sm: int) -> float:
        return self.launch_s(batch, sm, 100)

    def launch_s(self, batch: int, sm: int, quota: int) -> float:
        logs = [self._at_sm(each, sm, quota) for each in self._batches]
        return math.exp(_straight(self._batches, logs, batch, slope_below=0.0, slope_above=1.0))

    def _at_sm(self, batch: int, sm: int, quota: int) -> float:
        lines = self._lines[batch]
        sms = sorted(lines)
        logs = [_straight(lines[each][0], lines[each][1], quota, slope_below=-1.0, slope_above=0.0) for each in sms]
        return _straight(sms, logs, sm, slope_below=-1.0, slope_above=0.0)


def _straight(at: Sequence[int], logs: Sequence[float], x: int, *, slope_below: float, slope_above: float) -> float:
    """Straight in logarithms of both."""
    if x <= at[0]:
        return logs[0] + slope_below * math.log(x / at[0])
    if x >= at[-1]:
        return logs[-1] + slope_above * math.log(x / at[-1])
    right = bisect_left(at, x)
    if at[right] == x:
        return logs[right]
    left = right - 1
    part = math.log(x / at[left]) / math.log(at[right] / at[left])
    return logs[left] * (1.0 - part) + logs[right] * part
