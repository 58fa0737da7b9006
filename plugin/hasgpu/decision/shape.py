"""Whether pods of another SM share would be cheaper, and for how long they must have been to be worth the change. Pure.

SM shares are fixed when a pod starts, so they are chosen for the load of that time. What the present pods cost above
the best ones is summed up as regret; once it exceeds what a change costs, the change is made. Whatever the load does
afterwards, that costs at most twice what knowing it would have (the ski-rental rule).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from zlib import crc32

from hasgpu.model.capacity import CapacityTable
from hasgpu.model.keys import RevisionKey
from hasgpu.model.units import MIN_TIME_QUOTA_PERCENT, QuotaBounds

from .horizontal import ScaleOut, new_pod, planned, scale_out
from .ledger import Ledger
from .placement import SliceWish
from .policy import Policy
from .vertical import Share, cost_percent, least_alpha

LOOK_S = 5.0
"""Shapes are compared so often."""
MOST_PODS = 8
SLACK = 1.1
"""A shape that is dearer by less is as good as the best."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Regret:
    """What the present pods have cost above the best ones, in percent of a GPU times seconds."""

    percent_s: float = 0.0
    looked_s: float | None = None

    def grown(self, excess_percent: float, now: float) -> Regret:
        """The regret after another look; where there is no excess it fades as it came."""
        elapsed_s = min(now - self.looked_s, 2.0 * LOOK_S) if self.looked_s is not None else 0.0
        return Regret(percent_s=max(0.0, self.percent_s + excess_percent * elapsed_s), looked_s=now)


def excess_percent(
    shares: Sequence[Share], bounds: QuotaBounds, requests_per_s: float, *, least: int, most: int
) -> tuple[float, float, float]:
    """(excess over the best shape of so many pods, cost now, cost of the best) in percent of a GPU, for a demand."""
    now = cost_percent(shares, least_alpha(shares, bounds, requests_per_s))
    table = shares[0].table
    best = best_cost_percent(table, bounds, requests_per_s, least, most) if table is not None else now
    return now - SLACK * best, now, best


def best_cost_percent(
    table: CapacityTable, bounds: QuotaBounds, requests_per_s: float, least: int = 1, most: int = MOST_PODS
) -> float:
    """The least SM x quota of so many equal pods in rows of their own that carries a rate; infinite where none does."""
    low = max(bounds.low.percent, MIN_TIME_QUOTA_PERCENT)
    best = inf
    for sm in table.sm_percents:
        for pods in range(least, max(least, min(most, MOST_PODS)) + 1):
            if sm * low * pods / 100.0 >= best:
                break
            # A quota that costs more than the best is not looked for.
            high = min(bounds.high.percent, int(100.0 * best / (sm * pods)) + 1) if best < inf else bounds.high.percent
            quota = table.least_quota(sm, requests_per_s / pods, low, high, shared=pods > 1)
            if quota is not None:
                best = min(best, sm * quota * pods / 100.0)
    return best


def cheaper_pods(
    ledger: Ledger,
    revision: RevisionKey,
    wish: SliceWish,
    requests_per_s: float,
    pods: tuple[int, int],
    now_percent: float,
    policy: Policy,
) -> ScaleOut | None:
    """Slices of ``pods`` (least, most) new pods that carry all at less than ``now_percent``, taken in the ledger.

    None where the GPUs have no room for such: the best shape is not always to be had, and pods that are replaced by
    their like would be replaced for ever.
    """
    least, most = pods
    out = scale_out(
        ledger.copy(), revision, wish, requests_per_s, most, policy, total_requests_per_s=requests_per_s, least=least
    )
    if not out.plans or out.uncovered_per_s or SLACK * out.cost_percent >= now_percent:
        return None
    for number, plan in enumerate(out.plans):
        ledger.take(planned(revision, new_pod(revision, number), plan, wish.processes))
    return out


def first_look_s(revision: RevisionKey, now: float) -> float:
    """Revisions look at different times, however many a leader starts with at once."""
    part = crc32(f"{revision}".encode()) % 1000 / 1000.0  # names that differ in a digit are far apart
    return now - part * LOOK_S


def worth_a_change(regret: Regret, now_percent: float, best_percent: float, policy: Policy) -> bool:
    """True once as much was lost as a change costs: both shapes while the new one starts, the old while it drains."""
    change = best_percent * policy.startup_s + now_percent * policy.drain_of_pod_s
    return regret.percent_s >= policy.regret * change
