"""Planned moves, one after the other: whether to begin, which is next, and what its revision does for it. Pure.

A whole GPU that could be free and is not is looked for now and then; once one could have been for a while, its pods
are moved. Also where a pod finds no room that moves would make. Told the time; what has to survive a leader is that a
pod is to be moved, and for which GPU: told both again, ``resumed`` goes on where the last leader was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from hasgpu.model.keys import PodKey, RevisionKey

from .defragmentation import Move, Plan, plan_for_room, plan_to_free_a_gpu
from .ledger import Ledger
from .placement import SliceWish
from .policy import Policy
from .vertical import Share

LOOK_S = 30.0
"""Plans are looked for so often."""
STARVED_LOOK_S = 5.0
"""While a pod has no room."""
MOVING_LOOK_S = 0.9
"""While a pod is moved: at each tick of a second."""
CALM_S = 60.0
"""A plan is dropped where its next pod could not be moved for so long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moving:
    """The move that is being made, as its revision sees it."""

    move: Move
    frees: str
    twin: PodKey | None = None
    """The pod that is to take its place, once it has a slice."""

    def others(self, shares: tuple[Share, ...]) -> tuple[Share, ...]:
        """The pods that are to carry the load: no longer the one that is moved, once its twin serves."""
        if not any(share.placement.pod == self.twin and share.placement.ready for share in shares):
            return shares
        return tuple(share for share in shares if share.placement.pod != self.move.pod)


@dataclass(frozen=True, slots=True, kw_only=True)
class Moves:
    """What one look leaves for the next."""

    plan: Plan | None = None
    """Moves that are left; the first is being made."""
    for_room: bool = False
    """For a pod that waits, else for a whole GPU."""
    begun_s: float = 0.0
    """When the first of them became the first."""
    asked: bool = False
    """Its twin was asked for."""
    twin: PodKey | None = None
    looked_s: float | None = None
    possible_since_s: float | None = None
    """Since when each look has found a GPU that could be freed."""
    given_up: Mapping[RevisionKey, float] = field(default_factory=dict)
    """Until when no pod of a revision is moved, since a move of one never came to its end."""

    def due(self, policy: Policy, now: float, *, starved: bool) -> bool:
        """Whether it is time for another look."""
        wait_s = MOVING_LOOK_S if self.plan is not None else STARVED_LOOK_S if starved else LOOK_S
        if self.plan is None and not policy.move_after_s:
            return False
        return self.looked_s is None or not 0.0 <= now - self.looked_s < wait_s

    def ended(self, now: float, *, possible_since_s: float | None = None) -> Moves:
        """No move is left to make."""
        given_up = {key: until_s for key, until_s in self.given_up.items() if now < until_s}
        return Moves(looked_s=now, possible_since_s=possible_since_s, given_up=given_up)

    @property
    def emptying(self) -> str | None:
        """The GPU that no pod should be placed on, where there is another."""
        return self.plan.frees if self.plan is not None else None

    def of(self, revision: RevisionKey) -> Moving | None:
        """The move of a revision's pod."""
        if self.plan is None or self.plan.moves[0].revision != revision:
            return None
        return Moving(move=self.plan.moves[0], frees=self.plan.frees, twin=self.twin)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """What one look finds."""

    ledger: Ledger
    wishes: Mapping[RevisionKey, SliceWish]
    """Of revisions that are calm: no other may be moved."""
    starved: Sequence[SliceWish] = ()
    """Pods that found no room, the most important first."""


def next_moves(moves: Moves, seen: Cluster, policy: Policy, now: float) -> Moves:
    """The moves to make after another look, where one is due."""
    if not policy.move_after_s:
        return moves.ended(now)
    wishes = {key: wish for key, wish in seen.wishes.items() if moves.given_up.get(key, now) <= now}
    seen = replace(seen, wishes=wishes)
    if moves.plan is None:
        return _begun(moves, seen, policy, now)
    first = moves.plan.moves[0]
    pod = seen.ledger.placement(first.pod)
    over = pod is None or pod.terminating
    if not over and now - moves.begun_s >= policy.move_most_s:
        ended = moves.ended(now)
        return replace(ended, given_up={**ended.given_up, first.revision: now + policy.in_vain_s})
    if pod is not None and not over and (moves.asked or _possible(first, pod.processes, seen)):
        return replace(moves, looked_s=now)
    if moves.for_room and not seen.starved:
        return moves.ended(now)
    left, begun_s = _plan(seen, policy, moves.emptying), now if over else moves.begun_s
    if (left is None or left.frees != moves.emptying) and not moves.for_room and now - begun_s < CALM_S:
        # Whoever is not calm may be in a moment.
        left = replace(moves.plan, moves=moves.plan.moves[1:] if over else moves.plan.moves)
    if left is None or left.frees != moves.emptying or not left.moves:
        return moves.ended(now)
    return replace(moves.ended(now), plan=left, for_room=moves.for_room, begun_s=begun_s)


def resumed(
    marks: Mapping[PodKey, str], twins: Mapping[PodKey, PodKey], seen: Cluster, policy: Policy, now: float
) -> Moves:
    """What another leader had begun: ``marks`` tell of pods to be moved the GPU that is emptied, ``twins`` who takes
    whose place. The wishes are everybody's: who is calm is not known yet."""
    for pod, frees in sorted(marks.items()):
        old, twin = seen.ledger.placement(pod), seen.ledger.placement(twins.get(pod, pod))
        if old is not None and not old.terminating and twin is not None and twin.pod != pod:
            plan = Plan(moves=(Move(pod=pod, revision=old.revision, wanted=twin.slice),), frees=frees)
            return Moves(plan=plan, begun_s=now, asked=True, twin=twin.pod, looked_s=now)
    for frees in sorted({*marks.values()}):
        left = _plan(seen, policy, frees)
        if left is not None and left.frees == frees:
            return Moves(plan=left, for_room=bool(seen.starved), begun_s=now, looked_s=now)
    return Moves()


def _possible(move: Move, processes: int, seen: Cluster) -> bool:
    return move.revision in seen.wishes and seen.ledger.refusal(move.wanted, processes) is None


def _begun(moves: Moves, seen: Cluster, policy: Policy, now: float) -> Moves:
    plan = _plan(seen, policy, None)
    since = moves.possible_since_s if moves.possible_since_s is not None else now
    if plan is None:
        return moves.ended(now)
    if not seen.starved and now - since < policy.move_after_s:
        return moves.ended(now, possible_since_s=since)
    return replace(moves.ended(now), plan=plan, for_room=bool(seen.starved), begun_s=now)


def _plan(seen: Cluster, policy: Policy, emptying: str | None) -> Plan | None:
    if seen.starved:
        return plan_for_room(seen.ledger, seen.wishes, seen.starved[0], policy.most_moves, emptying)
    return plan_to_free_a_gpu(seen.ledger, seen.wishes, policy.most_moves, emptying)


def asked(moves: Moves, twin: PodKey | None = None) -> Moves:
    """The twin was asked for, or has its slice."""
    return replace(moves, asked=True, twin=twin or moves.twin)
