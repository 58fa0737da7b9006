"""The decision of class has for one revision: vertical, then horizontal, then why. Pure; told the time.

State goes in and comes out, frozen. The ledger is this pass's: first every revision tells it what its pods need of
their rows, then one after the other is decided, the most important first. What is decided for one is taken in the
ledger before the next is looked at, so no room is given twice. "We don't know" decides nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from hasgpu.model.decision import Decision, Reason, reason
from hasgpu.model.gpu import GpuSlice, Placement
from hasgpu.model.keys import PodKey, RevisionKey
from hasgpu.model.units import QuotaBounds

from .contention import contention
from .defragmentation import twin_of
from .demand import Demand, RevisionLoad, demand_of
from .horizontal import MOST_AT_ONCE, ScaleOut, planned, scale_out, superfluous
from .ledger import Ledger
from .moves import Moving
from .placement import SliceWish
from .policy import Policy
from .precedence import Newcomer, take_precedence
from .shape import LOOK_S, MOST_PODS, Regret, cheaper_pods, excess_percent, first_look_s, worth_a_change
from .vertical import (
    OrderedChanges,
    Share,
    laid_rate,
    least_alpha,
    order_changes,
    rate_at,
    shares_of,
    strongest_rate_at,
)
from .waste import Waste, surplus_percent

LEAST_DEFICIT_PER_S = 0.01
"""What a new pod is made for where the mere company of another would do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RevisionView:
    """All that is known of a revision now."""

    key: RevisionKey
    wish: SliceWish
    slo_latency_s: float
    load: RevisionLoad
    placements: tuple[Placement, ...]
    """Its placed pods, also those that leave."""
    plans: tuple[GpuSlice, ...]
    """Slices promised to pods that are not placed yet; taken in the ledger already."""
    replicas: int
    """Pods asked for at present."""
    least: int = 0
    most: int = 0
    """Pods at most; 0: no bound."""
    stable_window_s: float = 60.0
    cap_percent: int = 100
    """Quota at most while somebody else must get room (a successor, a sibling)."""
    quiet_until_s: float = 0.0
    """Before then no quota is lowered but for a mate that needs it: writes of one pod keep their distance."""
    moving: Moving | None = None
    """A pod of it that is being moved."""

    @property
    def bounds(self) -> QuotaBounds:
        """Bounds of the live quota."""
        return self.wish.quota


@dataclass(frozen=True, slots=True, kw_only=True)
class HybridState:
    """What one decision leaves for the next."""

    demands: tuple[tuple[float, float], ...] = ()
    """(time, requests/s) of the last seconds: only those that no later one exceeds."""
    superfluous_since_s: float | None = None
    regret: Regret = field(default_factory=Regret)
    waste: Waste = field(default_factory=Waste)
    reshaping_since_s: float | None = None
    """When pods of a better SM share were asked for; the old ones leave once they are ready."""
    superfluous_of: int = 0
    """Pods there were when some became superfluous; another number starts the wait anew."""
    calm: bool = False
    """Its pods carried all that there was and would be."""

    @property
    def movable(self) -> bool:
        """Whether one of its pods may be moved."""
        return self.calm and self.reshaping_since_s is None

    def held(self, now: float, requests_per_s: float, hold_s: float) -> tuple[HybridState, float]:
        """The largest demand of the last ``hold_s`` seconds, this one included."""
        kept = tuple((at, demand) for at, demand in self.demands if now - at < hold_s and demand > requests_per_s)
        demands = (*kept, (now, requests_per_s))
        return replace(self, demands=demands), demands[0][1]


@dataclass(slots=True)
class _Scale:
    """Pods wanted, and what goes with it."""

    pods: int
    victims: tuple[PodKey, ...] = ()
    plans: tuple[GpuSlice, ...] = ()
    reasons: list[Reason] = field(default_factory=list)


def decide(
    view: RevisionView, ledger: Ledger, state: HybridState, policy: Policy, now: float
) -> tuple[Decision, HybridState]:
    """What to do for one revision now."""
    if not view.load.known:
        return Decision.hold(view.key, now, reason("load-unknown")), state
    demand = demand_of(view.load, view.slo_latency_s, policy.drain_s, policy.startup_s)
    state, held = state.held(now, floored(demand.now_requests_per_s, view, policy), policy.hold_s)
    shares = shares_of(ledger, view.key, view.placements, view.wish.tables)
    staying = view.moving.others(shares) if view.moving is not None else shares
    serving = tuple(share for share in staying if share.placement.ready) or shares
    contended = contention(ledger, shares)
    alpha, changes, state = _vertical(view, ledger, state, shares, serving, held, policy)
    scale, state = _horizontal(view, ledger, state, policy, shares, demand, held)
    return (
        Decision(
            key=view.key,
            at_s=now,
            demand_requests_per_s=held,
            capacity_requests_per_s=rate_at(serving, alpha) if serving else 0.0,
            quota_percent=alpha if shares else None,
            desired_pods=scale.pods,
            quota_changes=changes.now,
            victims=scale.victims,
            reasons=(
                *demand.reasons,
                *_vertical_reasons(view, serving, alpha, held, changes),
                *contended,
                *scale.reasons,
            ),
            waiting_changes=changes.later,
            plans=scale.plans,
        ),
        state,
    )


def floored(requests_per_s: float, view: RevisionView, policy: Policy) -> float:
    """The least to be ready for; nothing where the user allows parked pods and one that wakes can be in time."""
    parks = view.bounds.low.parked and view.slo_latency_s > policy.wake_s
    return requests_per_s if parks else max(requests_per_s, policy.least_requests_per_s)


def _vertical(
    view: RevisionView,
    ledger: Ledger,
    state: HybridState,
    shares: tuple[Share, ...],
    serving: tuple[Share, ...],
    held: float,
    policy: Policy,
) -> tuple[int, OrderedChanges, HybridState]:
    """Alpha from the pods that serve now, for all pods: those that start will serve with the same number."""
    known = all(share.table is not None for share in shares)
    alpha = least_alpha(serving, view.bounds, held, view.cap_percent) if known else unprofiled_alpha(view)
    state = replace(state, waste=state.waste.grown(surplus_percent(shares, alpha), state.demands[-1][0]))
    later = {share.placement.pod for share in shares if _too_soon(share, alpha, view, state, policy)}
    for share in shares:
        kept = share.placement.slice.time_quota.percent if share.placement.pod in later else share.quota(alpha)
        ledger.decide(share.placement.pod, kept)
    return alpha, order_changes(ledger, [share for share in shares if share.placement.pod not in later], alpha), state


def _too_soon(share: Share, alpha: int, view: RevisionView, state: HybridState, policy: Policy) -> bool:
    """A fall not worth a write yet, or too close to another, is left for later unless somebody needs the room."""
    written = share.placement.slice.time_quota.percent
    if view.cap_percent < 100 or written > share.free_percent:
        return False
    fall = written - share.quota(alpha)
    quiet = state.demands[-1][0] < view.quiet_until_s
    return fall > 0 and (quiet or not state.waste.worth_a_write(fall, policy))


def unprofiled_alpha(view: RevisionView) -> int:
    """Nothing is known of the model: its upper bound, but for what somebody else must get."""
    return max(view.bounds.low.percent, min(view.bounds.high.percent, view.cap_percent))


def _vertical_reasons(
    view: RevisionView, serving: tuple[Share, ...], alpha: int, held: float, changes: OrderedChanges
) -> tuple[Reason, ...]:
    if not serving:
        return ()
    facts = [reason("quota", alpha_percent=alpha, demand_per_s=held, capacity_per_s=rate_at(serving, alpha))]
    if any(share.table is None for share in serving):
        facts.append(reason("no-profile"))
    if view.cap_percent < 100:
        facts.append(reason("yields", cap_percent=view.cap_percent))
    if changes.later:
        facts.append(reason("waits-for-shrink", pods=len(changes.later)))
    return tuple(facts)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pods:
    """Pods of a revision by what is known of them."""

    placed: tuple[Share, ...]
    planned: int
    expected: int
    """All that are asked for or promised."""

    @property
    def unplanned(self) -> int:
        """Asked for, with neither slice nor plan."""
        return max(0, self.expected - len(self.placed) - self.planned)

    @property
    def unready(self) -> int:
        """Not serving yet."""
        return self.expected - sum(share.placement.ready for share in self.placed)


def _horizontal(
    view: RevisionView,
    ledger: Ledger,
    state: HybridState,
    policy: Policy,
    shares: tuple[Share, ...],
    demand: Demand,
    held: float,
) -> tuple[_Scale, HybridState]:
    awaited = view.load.season_requests_per_s >= policy.prewarm_requests_per_s
    if view.load.idle_s >= view.stable_window_s and not awaited and not (view.moving and view.least):
        facts = [reason("idle", seconds=view.load.idle_s)]
        return _Scale(view.least, reasons=facts), replace(state, superfluous_since_s=None, calm=bool(view.wish.tables))
    expected = max(view.replicas, len(shares) + len(view.plans))
    pods = _Pods(placed=shares, planned=len(view.plans), expected=expected)
    if expected == 0:
        return _first(view, ledger, policy, demand, awaited=awaited), state
    if not view.wish.tables or any(share.table is None for share in shares):
        return _Scale(max(expected, view.least, 1)), state
    if demand.later_requests_per_s > _carried(view, ledger, shares, more=0)[0]:
        out = _out(view, ledger, policy, pods, shares, demand.later_requests_per_s)
        return out, replace(state, superfluous_since_s=None, calm=False)
    state = replace(state, calm=not demand.backlog_requests_per_s)
    if view.moving is not None and state.movable:
        return _move(view, ledger, view.moving, pods, demand, held), replace(state, superfluous_since_s=None)
    held = max(held, demand.later_requests_per_s)
    if state.reshaping_since_s is None and pods.unready == 0 and not demand.backlog_requests_per_s:
        reshaped, state = _reshape(view, ledger, state, policy, pods, shares, held)
        if reshaped is not None:
            return reshaped, state
    return _in(view, state, policy, pods, held)


def _reshape(
    view: RevisionView,
    ledger: Ledger,
    state: HybridState,
    policy: Policy,
    pods: _Pods,
    shares: tuple[Share, ...],
    requests_per_s: float,
) -> tuple[_Scale | None, HybridState]:
    """Make before break: pods of the best SM share for this demand, beside the present ones."""
    if view.wish.sm_partition is not None:
        return None, state
    now = state.demands[-1][0]
    looked_s = state.regret.looked_s
    if looked_s is None:
        return None, replace(state, regret=Regret(looked_s=first_look_s(view.key, now)))
    if now - looked_s < LOOK_S:
        return None, state
    least, most = max(1, view.least), view.most or MOST_PODS
    excess, cost, best = excess_percent(shares, view.bounds, requests_per_s, least=least, most=most)
    state = replace(state, regret=state.regret.grown(excess, now))
    room = view.most - pods.expected if view.most else MOST_AT_ONCE
    if excess <= 0.0 or room < least or not worth_a_change(state.regret, cost, best, policy):
        return None, state
    state = replace(state, regret=Regret(looked_s=now))
    out = cheaper_pods(ledger, view.key, view.wish, requests_per_s, (least, room), cost, policy)
    if out is None:
        return None, state
    state = replace(state, reshaping_since_s=now, superfluous_since_s=None)
    facts = [reason("reshape", cost_percent=cost, best_percent=best), *out.reasons]
    return _Scale(pods.expected + len(out.plans), plans=out.plans, reasons=facts), state


def _move(
    view: RevisionView, ledger: Ledger, moving: Moving, pods: _Pods, demand: Demand, requests_per_s: float
) -> _Scale:
    """Make before break: a twin elsewhere; once the others have what carries the load, the pod leaves."""
    pod, wanted, stay = moving.move.pod, moving.move.wanted, _Scale(max(pods.expected, view.least, 1))
    if pods.unready > 0:
        return stay
    if moving.twin is None:
        if (view.most and pods.expected >= view.most) or ledger.refusal(wanted, view.wish.processes) is not None:
            return stay
        ledger.take(planned(view.key, twin_of(pod), wanted, view.wish.processes))
        facts = [reason("moves", pod=pod.name, gpu=wanted.gpu_uuid, row=wanted.row, frees=moving.frees)]
        return _Scale(stay.pods + 1, plans=(wanted,), reasons=facts)
    rest = moving.others(pods.placed)
    later_per_s, _ = _carried(view, ledger, rest, more=0)
    if len(rest) == len(pods.placed) or later_per_s < max(requests_per_s, demand.later_requests_per_s):
        return stay
    if laid_rate(rest) < requests_per_s:
        return stay
    facts = [reason("moved", pod=pod.name, twin=moving.twin.name, frees=moving.frees)]
    return _Scale(stay.pods - 1, victims=(pod,), reasons=facts)


def _carried(view: RevisionView, ledger: Ledger, shares: tuple[Share, ...], *, more: int) -> tuple[float, int]:
    """Requests/s of the pods that are there or promised, at their upper bound beside ``more`` others; and how many.

    Pods too weak for the part they are given don't count: once there are enough others they leave.
    """
    high = view.bounds.high.percent
    shared = len(shares) + len(view.plans) + more > 1
    rate, pods = strongest_rate_at(shares, high, more=len(view.plans) + more)
    for plan in view.plans:
        books = ledger.books(plan.gpu_uuid)
        table = view.wish.tables.get(books.gpu.product) if books is not None else None
        rate += table.rate(plan.sm_partition.percent, high, shared=shared) if table is not None else 0.0
    return rate, pods + len(view.plans)


def _first(view: RevisionView, ledger: Ledger, policy: Policy, demand: Demand, *, awaited: bool) -> _Scale:
    """From zero. One pod is asked for even without room: waiting with a reason is better than silence."""
    if not view.load.active and not awaited:
        return _Scale(view.least)
    why = reason("wakes") if view.load.active else reason("prewarms")
    if not view.wish.tables:
        return _Scale(max(1, view.least), reasons=[why, reason("no-profile")])
    wanted = max(demand.later_requests_per_s, policy.first_requests_per_s)
    out = scale_out(ledger, view.key, view.wish, wanted, view.most or MOST_AT_ONCE, policy)
    return _Scale(max(1, view.least, len(out.plans)), plans=out.plans, reasons=[why, *out.reasons])


def _out(
    view: RevisionView,
    ledger: Ledger,
    policy: Policy,
    pods: _Pods,
    shares: tuple[Share, ...],
    requests_per_s: float,
) -> _Scale:
    """Pods that wait without a plan take the first new plans; only the rest are new pods."""
    most = pods.unplanned + (max(0, view.most - pods.expected) if view.most else MOST_AT_ONCE)
    # Beside others a pod carries more: the new ones need to bring only the rest.
    carried, siblings = _carried(view, ledger, shares, more=1)
    out = scale_out(
        ledger,
        view.key,
        view.wish,
        max(requests_per_s - carried, LEAST_DEFICIT_PER_S),
        most,
        policy,
        siblings=siblings,
        total_requests_per_s=requests_per_s,
    )
    added = max(0, len(out.plans) - pods.unplanned)
    facts = [*out.reasons, *_precedence(view, ledger, out)]
    return _Scale(max(pods.expected + added, view.least), plans=out.plans, reasons=facts)


def _precedence(view: RevisionView, ledger: Ledger, out: ScaleOut) -> tuple[Reason, ...]:
    """Those of lower priority make room; the pods are asked for once there is some."""
    if not out.without_room_per_s:
        return ()
    priority = max((each.priority for each in view.placements), default=0)
    newcomer = Newcomer(revision=view.key, priority=priority, wish=view.wish, requests_per_s=out.without_room_per_s)
    return take_precedence(ledger, newcomer)


def _in(
    view: RevisionView, state: HybridState, policy: Policy, pods: _Pods, requests_per_s: float
) -> tuple[_Scale, HybridState]:
    groups = superfluous(pods.placed, view.bounds, requests_per_s, policy)
    gone, step = sum(groups, ()), len(groups[0]) if groups and not pods.unready else 1
    spare, allowed = len(gone) + (pods.unplanned if pods.placed else 0), pods.expected - max(view.least, 1)
    now, asked_s = state.demands[-1][0], state.reshaping_since_s
    if asked_s is not None and pods.unready > 0:
        if now - asked_s < policy.move_most_s:
            return _Scale(max(pods.expected, view.least, 1)), state
        state = replace(state, reshaping_since_s=None, regret=Regret(looked_s=now + policy.in_vain_s))
    if spare == 0 or allowed < step:
        state = replace(state, superfluous_since_s=None, reshaping_since_s=None)
        return _Scale(max(pods.expected, view.least, 1)), state
    waited_from_s = state.superfluous_since_s if state.superfluous_of == pods.expected else None
    since = now if waited_from_s is None else waited_from_s
    state = replace(state, superfluous_since_s=since, superfluous_of=pods.expected)
    if now - since < max(policy.patience * policy.startup_s, policy.least_wait_s):
        return _Scale(pods.expected), state
    # Pods that are not ready leave first by Kubernetes' own order, and while there are such only they may.
    leaving = min(allowed, spare, pods.unready or step)
    victims = tuple(share.placement.pod for share in gone[: max(0, leaving - pods.unplanned)])
    facts = [reason("scale-in", pods=leaving, superfluous_s=now - since, demand_per_s=requests_per_s)]
    return _Scale(pods.expected - leaving, victims=victims, reasons=facts), state
