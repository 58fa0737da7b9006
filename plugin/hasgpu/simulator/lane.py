"""Process simulator: when work is done on a pod's lane of its row's time-table. Pure arithmetic in seconds.

A lane opens for fixed spans of a circle that repeats from time 0. Work flows at one second per second while it is
open, and up to a grace longer where the pod has saved time: span time in which it had no work, a circle's at most
(plugin/shim/src/gate.c). Work is a fluid here: kernels are taken as short against spans, so that none is left waiting
at a span's end or runs on beyond it. The spans are those that the node agent lays (``decision.timetable``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from hasgpu.decision.timetable import to_slots, windows_needed

GRACE_S = 0.002
"""The shim's (GRACE_NS)."""
GRAIN_S = 1e-9
"""Work below this is done: the shim counts in nanoseconds."""
_NS = 1e9


class Lane:
    """One pod's spans, rising and disjoint."""

    __slots__ = ("_circle_s", "_over_s", "_runs", "_spans", "most_saved_s", "never_closes")

    def __init__(self, circle_s: float, spans: Sequence[tuple[float, float]], grace_s: float = 0.0) -> None:
        self._circle_s = circle_s
        self._spans = tuple(spans)
        self.most_saved_s = sum(end - start for start, end in spans)
        """A circle's spans; 0 where it never opens."""
        self.never_closes = self.most_saved_s >= circle_s - GRAIN_S
        after = [start for start, _ in self._spans[1:]] + [start + circle_s for start, _ in self._spans[:1]]
        self._runs = tuple(
            (start, end, min(grace_s, next_s - end)) for (start, end), next_s in zip(self._spans, after, strict=True)
        )
        self._over_s = max(0.0, self._runs[-1][1] + self._runs[-1][2] - circle_s) if self._runs else 0.0
        """How far into the next circle the last span's grace reaches."""

    @property
    def circle_s(self) -> float:
        """After so long all repeats."""
        return self._circle_s

    @property
    def spans(self) -> tuple[tuple[float, float], ...]:
        """Where it is open."""
        return self._spans

    def run(
        self, start_s: float, work_s: float, saved_s: float = 0.0, until_s: float = math.inf
    ) -> tuple[float, float, float]:
        """Works from ``start_s`` on: when it stops (done, told to, or never), work left, time saved then."""
        # What rounding leaves below nothing would shorten each span, and grow by that from call to call.
        saved_s = max(saved_s, 0.0)
        if work_s <= GRAIN_S:
            return start_s, 0.0, saved_s
        if self.never_closes:
            done_s = min(work_s, until_s - start_s)
            return start_s + done_s, work_s - done_s, saved_s
        if self.most_saved_s <= 0.0:
            return until_s, work_s, saved_s
        return self._in_spans(start_s, work_s, saved_s, until_s)

    def _in_spans(self, start_s: float, work_s: float, saved_s: float, until_s: float) -> tuple[float, float, float]:
        total, circle = self.most_saved_s, self._circle_s
        base = start_s // circle * circle
        at = start_s - base
        if at < self._over_s:
            base, at = base - circle, at + circle
        while True:
            if work_s > total and saved_s <= GRAIN_S and until_s == math.inf:
                full = int((work_s - GRAIN_S) / total)
                work_s -= full * total
                base += full * circle
            for begin, end, reach in self._runs:
                stop = (at if at > end else end) + saved_s
                if stop > end + reach:
                    stop = end + reach
                if stop <= at:
                    continue
                if begin > at:
                    at = begin
                ends = at + work_s
                if ends > stop + GRAIN_S:
                    ends = stop
                if base + ends > until_s:
                    ends = until_s - base
                    if ends <= at:
                        return until_s, work_s, saved_s
                work_s -= ends - at
                if ends > end:
                    saved_s -= ends - (at if at > end else end)
                at = ends
                if work_s <= GRAIN_S:
                    return base + at, 0.0, saved_s
            base += circle
            at -= circle
            if at < 0.0:
                at = 0.0

    def finish(self, start_s: float, work_s: float, saved_s: float = 0.0) -> float:
        """When work that begins at ``start_s`` is done; never, where the lane does not open."""
        return self.run(start_s, work_s, saved_s)[0]

    def saved(self, saved_s: float, since_s: float, now: float) -> float:
        """Time saved by now where it was so much and no work was asked for since; a circle's spans at most."""
        if now > since_s:
            saved_s += self.most_saved_s if now - since_s >= self._circle_s else self.done(since_s, now)
        return saved_s if saved_s < self.most_saved_s else self.most_saved_s

    def done(self, start_s: float, until_s: float) -> float:
        """Span time between two instants."""
        return self._up_to(until_s) - self._up_to(start_s)

    def _up_to(self, at_s: float) -> float:
        circles = at_s // self._circle_s
        phase = at_s - circles * self._circle_s
        inside = circles * self.most_saved_s
        for begin, end in self._spans:
            if begin >= phase:
                break
            inside += (end if end < phase else phase) - begin
        return inside


OPEN = Lane(1.0, ((0.0, 1.0),))
"""A lane that never closes."""


def lay(running: Sequence[tuple[str, int]], window_s: float, grace_s: float = 0.0) -> dict[str, Lane]:
    """The lanes of a row's pods from their quotas in percent; 0 is parked. Σ must not exceed 100."""
    window_ns = round(window_s * _NS)
    at_work = [(uid, quota) for uid, quota in running if quota]
    windows = max((windows_needed(quota, window_ns) for _, quota in at_work), default=1)
    slots = to_slots(at_work, windows, window_ns)
    circle_s = windows * window_ns / _NS
    return {
        uid: Lane(circle_s, [(slot.start_ns / _NS, slot.end_ns / _NS) for slot in slots.get(uid, ())], grace_s)
        for uid, _ in running
    }
