"""The one quota of a revision: q_i = min(free_i, alpha), alpha the least that carries the demand (design §6). Pure.

free_i is what other revisions are not due in pod i's row, shared equally by this revision's pods there. Knative's
activator balances without knowing quotas, so equal quotas serve best; one number per revision costs 0.7 % over the
best vector.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from hasgpu.model.capacity import CapacityTable
from hasgpu.model.decision import QuotaChange
from hasgpu.model.gpu import Placement
from hasgpu.model.keys import RevisionKey
from hasgpu.model.units import MIN_TIME_QUOTA_PERCENT, QuotaBounds, TimeQuota

from .ledger import Ledger


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """One pod that alpha applies to."""

    placement: Placement
    table: CapacityTable | None
    free_percent: int

    def quota(self, alpha: int) -> int:
        """The pod's quota at an alpha; a pod that runs, or still starts, keeps at least the least slice."""
        if alpha == 0 and self.placement.ready:
            return 0
        return max(MIN_TIME_QUOTA_PERCENT, min(self.free_percent, alpha))

    def least_alpha(self, requests_per_s: float, low: int, high: int) -> int:
        """The least alpha at which this pod alone carries a rate; the largest where none does."""
        if self.table is None or low > self.free_percent:
            return high
        sm, most = self.placement.slice.sm_partition.percent, min(high, self.free_percent)
        found = self.table.least_quota(sm, requests_per_s, low, most)
        return high if found is None else found

    def rate(self, alpha: int, *, shared: bool) -> float:
        """Requests/s the pod carries at an alpha, alone or as one of several; 0 where nothing is known."""
        if self.table is None:
            return 0.0
        return self.table.rate(self.placement.slice.sm_partition.percent, self.quota(alpha), shared=shared)


def shares_of(
    ledger: Ledger, revision: RevisionKey, placements: Sequence[Placement], tables: Mapping[str, CapacityTable]
) -> tuple[Share, ...]:
    """The shares of a revision's pods that are not leaving."""
    staying = [placement for placement in placements if not placement.terminating]
    return tuple(
        Share(
            placement=placement,
            table=_table(ledger, placement, tables),
            free_percent=_free_percent(ledger, revision, placement),
        )
        for placement in staying
    )


SKEW = 1.4
"""The balancer gives pods equal parts, blind to what they can do; by its choice of two the strong get more.

Found by simulation: two pods, one of which can do half of what the other can or less, carry together 1.43 to 2.1
times twice what the weak one carries alone; four unequal pods 1.7 to 2.8 times."""


def rate_at(shares: Sequence[Share], alpha: int, *, more: int = 0) -> float:
    """Requests/s that pods carry together, beside ``more`` others: the weakest is given as much as the rest."""
    rates = [share.rate(alpha, shared=len(shares) + more > 1) for share in shares]
    return _together(rates)


def laid_rate(shares: Sequence[Share]) -> float:
    """Requests/s that pods carry together with what their agents have laid by now."""
    laid = [replace(share, free_percent=_laid(share.placement)) for share in shares]
    return rate_at(laid, 100)


def _laid(placement: Placement) -> int:
    return min(placement.slice.time_quota.percent, max(0, placement.applied_quota_percent))


def strongest_rate_at(shares: Sequence[Share], alpha: int, *, more: int = 0) -> tuple[float, int]:
    """The same of those pods that carry most together, and how many they are: the weaker ones might leave."""
    rates = sorted((share.rate(alpha, shared=len(shares) + more > 1) for share in shares), reverse=True)
    best = max(range(len(rates) + 1), key=lambda count: (_together(rates[:count]), count))
    return _together(rates[:best]), best


def _together(rates: Sequence[float]) -> float:
    return min(sum(rates), SKEW * len(rates) * min(rates)) if len(rates) > 1 else sum(rates)


def cost_percent(shares: Sequence[Share], alpha: int) -> float:
    """Σ SM x quota in percent of one GPU."""
    return sum(share.placement.slice.sm_partition.percent * share.quota(alpha) for share in shares) / 100.0


def least_alpha(shares: Sequence[Share], bounds: QuotaBounds, requests_per_s: float, cap: int = 100) -> int:
    """The least alpha within the bounds (and not above ``cap``) that carries the rate; else the largest allowed."""
    low = bounds.low.percent
    high = max(low, min(bounds.high.percent, cap))
    if low == 0:
        if requests_per_s <= 0.0:
            return 0
        low = MIN_TIME_QUOTA_PERCENT
    high = max(high, low)
    if len(shares) == 1:
        return shares[0].least_alpha(requests_per_s, low, high)
    if rate_at(shares, high) < requests_per_s:
        return high
    while low < high:
        middle = (low + high) // 2
        if rate_at(shares, middle) >= requests_per_s:
            high = middle
        else:
            low = middle + 1
    return low


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderedChanges:
    """Quota writes of a revision: what may be written now, and how many raises wait for somebody's shrink."""

    now: tuple[QuotaChange, ...]
    later: tuple[QuotaChange, ...]


def order_changes(ledger: Ledger, shares: Sequence[Share], alpha: int) -> OrderedChanges:
    """Shrinks and as much of each raise as the row has room for, entered into the ledger; the rest waits.

    Stateless: the next pass sees what the agents acknowledged meanwhile and writes the rest. Raises go first, since
    they may use only room that was free before; a shrink gives its room away once it is acknowledged.
    """
    now: list[QuotaChange] = []
    later: list[QuotaChange] = []
    for share in sorted(shares, key=lambda each: (_wanted(each, alpha) < _written(each), each.placement.pod)):
        wanted, written = _wanted(share, alpha), _written(share)
        possible = min(wanted, max(written, ledger.growth(share.placement)))
        if possible != written and (possible == 0 or possible >= MIN_TIME_QUOTA_PERCENT):
            changed = ledger.write(share.placement, TimeQuota(possible))
            now.append(QuotaChange(pod=changed.pod, old=share.placement.slice, new=changed.slice))
        if possible < wanted:
            later.append(_change(share.placement, wanted))
    return OrderedChanges(now=tuple(now), later=tuple(later))


def _wanted(share: Share, alpha: int) -> int:
    return share.quota(alpha)


def _written(share: Share) -> int:
    return share.placement.slice.time_quota.percent


def _change(placement: Placement, quota_percent: int) -> QuotaChange:
    new = TimeQuota(quota_percent)
    return QuotaChange(
        pod=placement.pod,
        old=placement.slice,
        new=type(placement.slice)(
            gpu_uuid=placement.slice.gpu_uuid,
            row=placement.slice.row,
            sm_partition=placement.slice.sm_partition,
            time_quota=new,
            memory_bytes=placement.slice.memory_bytes,
            generation=placement.slice.generation + 1,
        ),
    )


def _table(ledger: Ledger, placement: Placement, tables: Mapping[str, CapacityTable]) -> CapacityTable | None:
    books = ledger.books(placement.slice.gpu_uuid)
    return tables.get(books.gpu.product) if books is not None else None


def _free_percent(ledger: Ledger, revision: RevisionKey, placement: Placement) -> int:
    row, books = ledger.row_of(placement), ledger.books(placement.slice.gpu_uuid)
    if row is None:
        return placement.slice.time_quota.percent
    if books is not None and not books.gpu.reachable:
        return placement.held_quota_percent  # nothing grows where the agent is silent
    open_percent = ledger.open_percent(revision, placement.slice.gpu_uuid, row)
    return open_percent // max(1, len(row.staying(revision)))
