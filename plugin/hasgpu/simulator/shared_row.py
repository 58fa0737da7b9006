"""Process simulator: a row of several pods: their work, one inference at a time.

The owner of a slot runs in it as soon as it has work. Whose slot has just ended runs on first, within the grace, by
what it saved: its kernels were launched before the owner's, and the owner is charged for waiting.
Where the row lends (row policy ``borrow``), what is left of it goes to the mate that has waited longest; an owner that
comes back waits for what its borrower has on the GPU.
Told the time, and of every arrival in its order: between two instants nothing new comes.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .lane import GRAIN_S, Lane
from .pod import Pod

HAND_OVER_S = 0.001
"""From the owner's launch to the end of the mate's last borrowed kernel, as seen on the emulated GPU."""


@dataclass(frozen=True, slots=True)
class _Turn:
    """Whose slot an instant is in, if anybody's, until when; whose was the one before, and until when it may run on."""

    owner: Pod | None
    ends_s: float
    before: Pod | None
    grace_ends_s: float


class SharedRow:
    """Advances all pods of the row together."""

    __slots__ = ("_circle_s", "_grace_s", "_last", "_lends", "_marks", "_now", "_on_loan", "_owners", "_pods")

    def __init__(self) -> None:
        self._now = 0.0
        self._pods: tuple[Pod, ...] = ()
        self._lends, self._grace_s = False, 0.0
        self._circle_s = 1.0
        self._marks: tuple[float, ...] = (0.0,)
        """Where the owner changes within the circle; rising."""
        self._owners: tuple[Pod | None, ...] = (None,)
        self._last: Pod | None = None
        """Who ran last."""
        self._on_loan = False
        """Whether that may have been in time lent."""

    def lay(self, pods: Sequence[Pod], lanes: Mapping[str, Lane], now: float, *, lends: bool, grace_s: float) -> None:
        """Another time-table from now on, up to which it was advanced. Parked pods neither own nor borrow."""
        self._now, self._lends, self._grace_s = now, lends, grace_s
        self._pods = tuple(pod for pod in pods if pod.laid_percent)
        spans = sorted(
            (start, end, number) for number, pod in enumerate(self._pods) for start, end in lanes[pod.key.uid].spans
        )
        marks: list[tuple[float, Pod | None]] = []
        at = 0.0
        for start, end, number in spans:
            if start > at + GRAIN_S or not marks:
                marks.append((at, None))
            marks.append((start, self._pods[number]))
            at = end
        self._circle_s = max((lane.circle_s for lane in lanes.values()), default=1.0)
        if at < self._circle_s - GRAIN_S:
            marks.append((at, None))
        self._marks = tuple(start for start, _ in marks)
        self._owners = tuple(owner for _, owner in marks)

    def advance(self, until_s: float) -> None:
        """Everything that happens before then."""
        while self._now < until_s - GRAIN_S:
            workers = [pod for pod in self._pods if pod.at_work(self._now + GRAIN_S)]
            if not workers:
                self._now = until_s
            elif len(workers) == 1 and not self._lends:
                self._last = workers[0]
                self._now = self._last.work_on_lane(self._now, until_s)
            else:
                self._run(workers, until_s)

    def _run(self, workers: list[Pod], until_s: float) -> None:
        """One pod up to the next instant at which another may take its place."""
        now, last = self._now, self._last
        turn = self._turn(now)
        owner = turn.owner if turn.owner in workers else None
        if self._runs_on(turn, workers, owner):
            self._run_on(turn, owner, until_s)
            return
        end = min(until_s, turn.ends_s) if len(workers) > 1 else until_s
        if not self._lends:
            self._last = owner
            self._now = end if owner is None else owner.work_on_lane(now, end)
            return
        chosen = owner or min(workers, key=lambda pod: pod.waiting_since_s())
        held = self._on_loan and last is not chosen and last in workers
        if held and last is not None and self._turn(now - GRAIN_S).owner is not last:
            chosen, end = last, min(until_s, now + HAND_OVER_S)
            self._last = None
        else:
            self._last, self._on_loan = chosen, True
        self._now = chosen.work_until(now, end)

    def _runs_on(self, turn: _Turn, workers: list[Pod], owner: Pod | None) -> bool:
        """True where who had the slot before has the GPU busy past it, or the row free."""
        before = turn.before
        if before is None or before not in workers or self._now >= turn.grace_ends_s - GRAIN_S:
            return False
        return (before is self._last or owner is None) and before.saved_s(self._now) > GRAIN_S

    def _run_on(self, turn: _Turn, owner: Pod | None, until_s: float) -> None:
        before = turn.before
        assert before is not None
        end = min(until_s, turn.grace_ends_s, turn.ends_s, self._now + before.saved_s(self._now))
        end = before.work_on_lane(self._now, end)
        if owner is not None:
            owner.saved_s(self._now)
            owner.lose_until(end)
        self._now, self._last, self._on_loan = end, before, False

    def _turn(self, now: float) -> _Turn:
        # An instant before a mark counts as the mark, so that each turn lies ahead of now.
        at = now + GRAIN_S / 2.0
        base = at // self._circle_s * self._circle_s
        number = max(0, bisect_right(self._marks, at - base) - 1)
        after = self._marks[number + 1] if number + 1 < len(self._marks) else self._circle_s
        owner, before = self._owners[number], self._owners[number - 1]
        return _Turn(
            owner,
            base + after,
            None if before is owner else before,
            base + self._marks[number] + self._grace_s,
        )
