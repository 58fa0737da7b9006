"""What a revision's pods need of rows that others may ask for; the ledger is told before a pass decides. Pure."""

from __future__ import annotations

from dataclasses import replace

from hasgpu.model.units import MIN_TIME_QUOTA_PERCENT

from .demand import demand_of
from .hybrid import HybridState, RevisionView, floored, unprofiled_alpha
from .ledger import Ledger
from .need import Need
from .policy import Policy
from .vertical import Share, least_alpha, shares_of


def tell_needs(view: RevisionView, ledger: Ledger, state: HybridState, policy: Policy, now: float) -> None:
    """What the pods would get if no other revision were in their rows; nothing where the load is not known.

    What a pod could do for a sibling in a crowded row is not among it: that is done with what nobody needs.
    """
    if not view.load.known or all(ledger.common_row(each) is None for each in view.placements):
        return
    shares = tuple(_alone(ledger, share) for share in shares_of(ledger, view.key, view.placements, view.wish.tables))
    known = all(share.table is not None for share in shares)
    held, present = _alphas(view, shares, state, policy, now) if known else (unprofiled_alpha(view), None)
    for share in shares:
        placement, row = share.placement, ledger.common_row(share.placement)
        if row is None:
            continue
        # Of a model that is not known an equal part of the row is taken to be the need.
        needed = row.most_percent // len(row.pods) if present is None else share.quota(present)
        needed = min(needed, share.quota(held))
        ledger.tell(
            Need(
                pod=placement.pod,
                revision=view.key,
                priority=placement.priority,
                least=min(needed, max(view.bounds.low.percent, MIN_TIME_QUOTA_PERCENT)),
                now=needed,
                held=share.quota(held),
                written=placement.slice.time_quota.percent,
            )
        )


def _alphas(
    view: RevisionView, shares: tuple[Share, ...], state: HybridState, policy: Policy, now: float
) -> tuple[int, int]:
    """Alpha for the largest demand of the last seconds, and for that of now."""
    demand = demand_of(view.load, view.slo_latency_s, policy.drain_s, policy.startup_s)
    present = floored(demand.now_requests_per_s, view, policy)
    held = state.held(now, present, policy.hold_s)[1]
    serving = tuple(share for share in shares if share.placement.ready) or shares
    alpha = least_alpha(serving, view.bounds, held, view.cap_percent)
    return alpha, least_alpha(serving, view.bounds, present, view.cap_percent) if present < held else alpha


def _alone(ledger: Ledger, share: Share) -> Share:
    """The pod's part of its row if no other revision were there."""
    row = ledger.row_of(share.placement)
    if row is None:
        return share
    return replace(share, free_percent=row.most_percent // max(1, len(row.staying(share.placement.revision))))
