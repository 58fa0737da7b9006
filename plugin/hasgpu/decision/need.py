"""How pods that need more than a row has share its time: by priority, and fairly among equals. Pure.

A row's time is given away in turns, those of higher priority before all of lower. Everybody keeps the user's lower
bound. Then, within one priority: what the present demand needs; what pods have already, as far as the largest demand
of the last seconds still needs it; all that this needs. A turn that can't be had in full is max-min fair: all get the
same part of what they need, and nobody less than before.

Where equals hold the whole row already, an exchange of a few points is not made unless it brings somebody all that it
needs now: needs change by chance, and each exchange would be a write on either side.

So what a pod holds for demand that has just passed is lent to a mate that needs it now, and where all needs can be
met, nothing moves. Worked example: of 100 %, 60 % is held by a pod that needs 20 % now, and its mate needs 70 %
instead of its 40 %: the first falls to 30 %. With needs of 60 % and 90 % of equal priority they get 40 % and 60 %;
with the second one's priority higher, 10 % and 90 %.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from hasgpu.model.keys import PodKey, RevisionKey

LEAST_EXCHANGE_PERCENT = 5
"""What equals that are all short take from each other at least. On training seeds it spares a quarter of all writes
where rows are crowded, and nobody is later for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What one placed pod needs of its row's time, in percent."""

    pod: PodKey
    revision: RevisionKey
    priority: int
    least: int
    """It is never left with less: the user's lower bound."""
    now: int
    """For the demand of this moment."""
    held: int
    """For the largest demand of the last seconds."""
    written: int
    """What it has been given."""
    placed: bool = True
    """False for a pod that waits for the room: it comes after its equals, and before those of lower priority."""


def dues(room_percent: int, needs: Iterable[Need]) -> dict[PodKey, int]:
    """What each pod is due of so much of a row's time; together no more than there is, nobody more than it needs."""
    told = tuple(needs)
    if sum(need.held for need in told) <= room_percent:
        return {need.pod: need.held for need in told}
    due = {need.pod: min(need.least, need.written) for need in told}
    left = room_percent - sum(due.values())
    for rank in sorted({_rank(need) for need in told}, reverse=True):
        tier = [need for need in told if _rank(need) == rank]
        for turn in (
            {need.pod: need.least for need in tier},
            {need.pod: need.now for need in tier},
            {need.pod: min(need.written, need.held) for need in tier},
            {need.pod: need.held for need in tier},
        ):
            left -= _raise(due, turn, left)
    kept = {need.pod: min(need.written, need.held) for need in told}
    return due if sum(kept.values()) != room_percent or _worth_an_exchange(told, due) else kept


def _worth_an_exchange(needs: Sequence[Need], due: Mapping[PodKey, int]) -> bool:
    """Whether pods that hold the whole row should go from what they have to what they are due."""
    return len({_rank(need) for need in needs}) > 1 or any(
        abs(due[need.pod] - need.written) >= LEAST_EXCHANGE_PERCENT
        or need.written < need.least
        or need.written < need.now <= due[need.pod]
        for need in needs
    )


def _rank(need: Need) -> tuple[int, bool]:
    return need.priority, need.placed


def _raise(due: dict[PodKey, int], wanted: Mapping[PodKey, int], left: int) -> int:
    """Raises dues towards what is wanted by no more than what is left; says by how much."""
    before = sum(due.values())
    short = {pod: most for pod, most in wanted.items() if most > due[pod]}
    if sum(short.values()) - sum(due[pod] for pod in short) <= left:
        due.update(short)
        return sum(due.values()) - before
    if left <= 0:
        return 0
    part = _fair_part(due, short, left)
    for pod, most in short.items():
        due[pod] = max(due[pod], int(part * most))
    # What rounding left goes to who has the least part.
    for pod in sorted(short, key=lambda each: (due[each] / short[each], each))[: left - (sum(due.values()) - before)]:
        due[pod] += 1
    return sum(due.values()) - before


def _fair_part(due: Mapping[PodKey, int], wanted: Mapping[PodKey, int], left: int) -> float:
    """The part of its need that each gets who has less; those who have more keep it."""
    raised = dict(wanted)
    while True:
        part = (left + sum(due[pod] for pod in raised)) / sum(raised.values())
        ahead = [pod for pod, most in raised.items() if part * most < due[pod]]
        if not ahead:
            return part
        for pod in ahead:
            del raised[pod]
