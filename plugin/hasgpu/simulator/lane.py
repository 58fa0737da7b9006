"""Process simulator: when work is done on a pod's lane of its row's time-table. Pure arithmetic in seconds.

A lane opens for fixed spans of a circle that repeats from time 0. Work flows at one second per second while it is
open. The spans are those that the node agent lays (``decision.timetable``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from hasgpu.decision.timetable import to_slots, windows_needed

_GRAIN = 1e-12
_NS = 1e9


class Lane:
    """One pod's spans."""

    __slots__ = ("_circle_s", "_spans", "_total_s")

    def __init__(self, circle_s: float, spans: Sequence[tuple[float, float]]) -> None:
        self._circle_s = circle_s
        self._spans = tuple(spans)
        self._total_s = sum(end - start for start, end in spans)

    @property
    def circle_s(self) -> float:
        """After so long all repeats."""
        return self._circle_s

    @property
    def spans(self) -> tuple[tuple[float, float], ...]:
        """Where it is open."""
        return self._spans

    def finish(self, start_s: float, work_s: float) -> float:
        """When work that begins at ``start_s`` is done; never, where the lane does not open."""
        total, circle = self._total_s, self._circle_s
        if total >= circle - _GRAIN:
            return start_s + work_s
        if total <= 0.0:
            return math.inf
        base = start_s // circle * circle
        phase = start_s - base
        if work_s > total:
            full = int((work_s - _GRAIN) / total)
            work_s -= full * total
            base += full * circle
        while True:
            for begin, end in self._spans:
                if end <= phase:
                    continue
                at = begin if begin > phase else phase
                room = end - at
                if work_s <= room + _GRAIN:
                    return base + at + work_s
                work_s -= room
            base += circle
            phase = 0.0

    def done(self, start_s: float, until_s: float) -> float:
        """Work done between two instants."""
        return self._up_to(until_s) - self._up_to(start_s)

    def _up_to(self, at_s: float) -> float:
        circles = at_s // self._circle_s
        phase = at_s - circles * self._circle_s
        inside = sum(min(end, phase) - begin for begin, end in self._spans if begin < phase)
        return circles * self._total_s + inside


OPEN = Lane(1.0, ((0.0, 1.0),))
"""A lane that never closes."""


def lay(running: Sequence[tuple[str, int]], window_s: float) -> dict[str, Lane]:
    """The lanes of a row's pods from their quotas in percent; 0 is parked. Σ must not exceed 100."""
    window_ns = round(window_s * _NS)
    at_work = [(uid, quota) for uid, quota in running if quota]
    windows = max((windows_needed(quota, window_ns) for _, quota in at_work), default=1)
    slots = to_slots(at_work, windows, window_ns)
    circle_s = windows * window_ns / _NS
    return {
        uid: Lane(circle_s, [(slot.start_ns / _NS, slot.end_ns / _NS) for slot in slots.get(uid, ())])
        for uid, _ in running
    }
