"""Process simulator: a row whose idle time is lent (row policy ``borrow``): its pods' work, one inference at a time.

The owner of a slot runs in it as soon as it has work. What is left of the row goes to the mate that has waited
longest. An owner that comes back waits for what its borrower has on the GPU. Told the time, and of every arrival in
its order: between two instants nothing new comes.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence

from .lane import Lane
from .pod import Pod

HAND_OVER_S = 0.001
"""From the owner's launch to the end of the mate's last borrowed kernel, as seen on the emulated GPU."""
_GRAIN_S = 1e-12


class SharedRow:
    """Advances all pods of the row together."""

    __slots__ = ("_circle_s", "_last", "_marks", "_now", "_owners", "_pods")

    def __init__(self) -> None:
        self._now = 0.0
        self._pods: tuple[Pod, ...] = ()
        self._circle_s = 1.0
        self._marks: tuple[float, ...] = (0.0,)
        """Where the owner changes within the circle; rising."""
        self._owners: tuple[Pod | None, ...] = (None,)
        self._last: Pod | None = None
        """Who ran last."""

    def lay(self, pods: Sequence[Pod], lanes: Mapping[str, Lane], now: float) -> None:
        """Another time-table from now on. Parked pods neither own nor borrow."""
        self.advance(now)
        self._now = now
        self._pods = tuple(pod for pod in pods if pod.laid_percent)
        spans = sorted(
            (start, end, number) for number, pod in enumerate(self._pods) for start, end in lanes[pod.key.uid].spans
        )
        marks: list[tuple[float, Pod | None]] = []
        at = 0.0
        for start, end, number in spans:
            if start > at + _GRAIN_S or not marks:
                marks.append((at, None))
            marks.append((start, self._pods[number]))
            at = end
        self._circle_s = max((lane.circle_s for lane in lanes.values()), default=1.0)
        if at < self._circle_s - _GRAIN_S:
            marks.append((at, None))
        self._marks = tuple(start for start, _ in marks)
        self._owners = tuple(owner for _, owner in marks)

    def advance(self, until_s: float) -> None:
        """Everything that happens before then."""
        while self._now < until_s - _GRAIN_S:
            workers = [pod for pod in self._pods if pod.has_work(self._now + _GRAIN_S)]
            if not workers:
                self._now = until_s
                return
            self._run(workers, until_s)

    def _run(self, workers: list[Pod], until_s: float) -> None:
        """One pod up to the next instant at which another may take its place."""
        now, last = self._now, self._last
        owner, change_s = self._owner(now)
        chosen = owner if owner in workers else min(workers, key=lambda pod: pod.waiting_since_s())
        end = min(until_s, change_s) if len(workers) > 1 else until_s
        if last is not None and last is not chosen and last in workers and self._owner(now - _GRAIN_S)[0] is not last:
            chosen, end = last, min(until_s, now + HAND_OVER_S)
            self._last = None
        else:
            self._last = chosen
        assert chosen is not None
        self._now = chosen.work_until(now, end)

    def _owner(self, now: float) -> tuple[Pod | None, float]:
        """Whose slot it is, and until when."""
        base = now // self._circle_s * self._circle_s
        number = max(0, bisect_right(self._marks, now - base + _GRAIN_S / 2.0) - 1)
        after = self._marks[number + 1] if number + 1 < len(self._marks) else self._circle_s
        return self._owners[number], max(base + after, now + 10.0 * _GRAIN_S)
