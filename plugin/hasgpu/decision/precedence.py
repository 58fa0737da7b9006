"""Room for a pod that found none, from pods of lower priority: they keep their lower bounds. Pure.

Only time gives way, and it is asked for in a row of a width that the pod may have, on a GPU with memory and clients to
spare. Nothing is taken from pods of the same priority or a higher one. Of the rows that give enough the one whose pods
matter least is chosen, then the cheapest; where none gives enough, the one that gives most.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from hasgpu.model.decision import Reason, reason
from hasgpu.model.keys import PodKey, RevisionKey
from hasgpu.model.units import MIN_TIME_QUOTA_PERCENT

from .ledger import GpuBooks, Ledger, Row
from .need import Need, dues
from .placement import SliceWish, fits_but_for_quota
from .replacement import rows_of_its_width


@dataclass(frozen=True, slots=True, kw_only=True)
class Newcomer:
    """A pod without room, and what it is for."""

    revision: RevisionKey
    priority: int
    wish: SliceWish
    requests_per_s: float
    """0: the least slice will do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Offer:
    """What those of lower priority in a row would leave."""

    books: GpuBooks
    row: Row
    need: Need
    percent: int
    over: int
    """The highest priority of those who give."""

    @property
    def score(self) -> tuple[bool, int, int, str, int]:
        enough = self.percent >= self.need.now
        cost = self.row.sm_percent * self.need.now if enough else -self.row.sm_percent * self.percent
        return not enough, self.over, cost, self.books.gpu.uuid, self.row.number


def take_precedence(ledger: Ledger, newcomer: Newcomer) -> tuple[Reason, ...]:
    """Reserves the best row's time, so that whoever is decided later in the pass gives way; empty where none can."""
    if not ledger.any_below(newcomer.priority):
        return ()
    best = min(_offers(ledger, newcomer), key=lambda offer: offer.score, default=None)
    if best is None:
        return ()
    ledger.reserve(best.books.gpu.uuid, best.row.number, best.need)
    gpu, row = best.books.gpu.uuid, best.row.number
    return (
        reason("takes-precedence", gpu=gpu, row=row, percent=best.percent, priority=newcomer.priority, over=best.over),
    )


def _offers(ledger: Ledger, newcomer: Newcomer) -> Iterator[_Offer]:
    for books, row in rows_of_its_width(ledger, newcomer.wish):
        if fits_but_for_quota(books, newcomer.wish):
            offer = _offer(ledger, books, row, newcomer)
            if offer is not None:
                yield offer


def _offer(ledger: Ledger, books: GpuBooks, row: Row, newcomer: Newcomer) -> _Offer | None:
    room, needs = ledger.needs_in(books.gpu.uuid, row)
    lower = [need for need in needs if need.placed and need.priority < newcomer.priority]
    if not lower:
        return None
    wanted = _quota(books, row, newcomer)
    waits = Need(
        pod=PodKey(newcomer.revision.namespace, f"{newcomer.revision.name} waits", f"{newcomer.revision} waits"),
        revision=newcomer.revision,
        priority=newcomer.priority,
        least=0,
        now=wanted,
        held=wanted,
        written=0,
        placed=False,
    )
    percent = dues(room, [*needs, waits])[waits.pod]
    if percent < max(newcomer.wish.quota.low.percent, MIN_TIME_QUOTA_PERCENT):
        return None
    return _Offer(books=books, row=row, need=waits, percent=percent, over=max(need.priority for need in lower))


def _quota(books: GpuBooks, row: Row, newcomer: Newcomer) -> int:
    """What it would take in this row."""
    low, high = newcomer.wish.quota.low.percent, newcomer.wish.quota.high.percent
    low = max(low, MIN_TIME_QUOTA_PERCENT)
    table = newcomer.wish.tables.get(books.gpu.product)
    if table is None:
        return high
    found = table.least_quota(row.sm_percent, newcomer.requests_per_s, low, high)
    return high if found is None else found
