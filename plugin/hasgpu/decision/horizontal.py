"""More pods where no quota carries the demand, fewer where they are not needed: the slow variable. Pure.

Vertical was decided before: only what its bounds leave uncovered becomes pods. Down is lazy: a pod must have been
superfluous for ``patience`` start-ups, and what remains must carry the demand with a margin.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hasgpu.model.decision import Reason, reason
from hasgpu.model.gpu import GpuSlice, Placement
from hasgpu.model.keys import PodKey, RevisionKey
from hasgpu.model.units import QuotaBounds

from .ledger import Ledger
from .placement import Chosen, NoRoom, SliceTask, SliceWish, choose_first_slice
from .policy import Policy
from .vertical import Share, cost_percent, least_alpha, rate_at, strongest_rate_at

MOST_AT_ONCE = 20
"""New pods of a revision in one decision."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleOut:
    """Slices for the new pods, and why there are not more."""

    plans: tuple[GpuSlice, ...]
    reasons: tuple[Reason, ...]
    without_room_per_s: float = 0.0
    """What would be covered if there were room."""
    uncovered_per_s: float = 0.0
    """Of the deficit, for whatever reason."""

    @property
    def cost_percent(self) -> float:
        """SM x quota of the new pods, in percent of a GPU."""
        return sum(plan.sm_partition.percent * plan.time_quota.percent / 100.0 for plan in self.plans)


def scale_out(
    ledger: Ledger,
    revision: RevisionKey,
    wish: SliceWish,
    deficit_requests_per_s: float,
    most: int,
    policy: Policy,
    *,
    siblings: int = 0,
    total_requests_per_s: float = 0.0,
    least: int = 1,
) -> ScaleOut:
    """Slices that cover the deficit at the least cost, ``least`` to ``most`` of them; taken in the ledger at once.

    All will share ``total_requests_per_s`` with ``siblings``: pods that there are or that are promised already.
    """
    plans: list[GpuSlice] = []
    facts: list[Reason] = []
    left, without_room = deficit_requests_per_s, 0.0
    split = most = min(most, MOST_AT_ONCE)
    while left > 0.0 and len(plans) < most:
        task = SliceTask(
            requests_per_s=left,
            headroom=policy.headroom,
            unprofiled_sm_percent=policy.unprofiled_sm_percent,
            siblings=siblings + len(plans),
            least_pods=max(1, least - len(plans)),
            most_pods=min(split, most - len(plans)),
            total_requests_per_s=total_requests_per_s,
        )
        chosen = choose_first_slice(ledger, wish, task)
        if isinstance(chosen, NoRoom) or chosen.requests_per_s <= 0.0:
            facts += _refused(chosen, left)
            without_room = left if isinstance(chosen, NoRoom) else 0.0
            break
        ledger.take(planned(revision, new_pod(revision, len(plans)), chosen.slice, wish.processes))
        plans.append(chosen.slice)
        left, split = left - chosen.requests_per_s, chosen.pods - 1 or most  # the others of the split, then a new one
    told = _told(plans, facts, deficit_requests_per_s, left)
    return ScaleOut(plans=tuple(plans), reasons=told, without_room_per_s=without_room, uncovered_per_s=max(0.0, left))


def _refused(chosen: Chosen | NoRoom, uncovered_per_s: float) -> list[Reason]:
    if isinstance(chosen, NoRoom):
        return [reason("no-room", uncovered_per_s=uncovered_per_s), *chosen.reasons]
    return [reason("slo-out-of-reach", uncovered_per_s=uncovered_per_s)]


def new_pod(revision: RevisionKey, number: int) -> PodKey:
    """A pod that is planned and has no name yet."""
    return PodKey(revision.namespace, f"{revision.name} plan", f"new-plan-{number} of {revision}")


def _told(plans: list[GpuSlice], facts: list[Reason], deficit_per_s: float, left_per_s: float) -> tuple[Reason, ...]:
    if plans:
        return (reason("scale-out", deficit_per_s=deficit_per_s, pods=len(plans)), *facts)
    if left_per_s > 0.0 and not facts:
        return (reason("max-scale", uncovered_per_s=left_per_s),)
    return tuple(facts)


def planned(revision: RevisionKey, entry: PodKey, wanted: GpuSlice, processes: int) -> Placement:
    """A plan as the ledger holds it, so that nobody else is promised the same room."""
    return Placement(pod=entry, revision=revision, slice=wanted, processes=processes)


def superfluous(
    shares: Sequence[Share], bounds: QuotaBounds, requests_per_s: float, policy: Policy
) -> tuple[tuple[Share, ...], ...]:
    """Pods that could all go while the rest carries the demand with a margin, least worth first; never the last.

    In groups that go at once: mostly of one, of more where the rest carries it only without all of them. The activator
    gives a weak pod as much as a strong one, so beside a few weak ones a strong one carries less than alone.
    """
    groups: list[tuple[Share, ...]] = []
    group: list[Share] = []
    rest = list(shares)
    while len(rest) > 1:
        victim = min(_one_of_each_kind(rest), key=lambda share: _worth(share, rest, bounds, requests_per_s, policy))
        group.append(victim)
        rest = [share for share in rest if share is not victim]
        if rate_at(rest, bounds.high.percent) * policy.scale_in_load >= requests_per_s:
            groups.append(tuple(group))
            group = []
        elif strongest_rate_at(rest, bounds.high.percent)[0] * policy.scale_in_load < requests_per_s:
            break
    return tuple(groups)


def _one_of_each_kind(shares: Sequence[Share]) -> list[Share]:
    """Of pods that are worth the same the first in order: a revision of many pods has few kinds."""
    kinds: dict[tuple[int, int, bool], Share] = {}
    for share in sorted(shares, key=lambda each: each.placement.pod, reverse=True):
        kinds[share.placement.slice.sm_partition.percent, share.free_percent, share.placement.ready] = share
    return list(kinds.values())


def _worth(
    share: Share, all_shares: Sequence[Share], bounds: QuotaBounds, requests_per_s: float, policy: Policy
) -> tuple[bool, bool, float, PodKey]:
    """Leaves first: a pod that is not ready, then one without which the rest still carries the demand, most cheaply;
    where there is none, the weakest."""
    without = [each for each in all_shares if each is not share]
    carried = rate_at(without, bounds.high.percent) * policy.scale_in_load >= requests_per_s
    if not carried:
        return (share.placement.ready, True, share.rate(bounds.high.percent, shared=True), share.placement.pod)
    return (
        share.placement.ready,
        False,
        cost_percent(without, least_alpha(without, bounds, requests_per_s)),
        share.placement.pod,
    )
