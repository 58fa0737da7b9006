"""Why a pod has less of its row than it needs, or gives away what it holds: its row mates' needs. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from hasgpu.model.decision import Reason, reason

from .ledger import Ledger
from .need import Need
from .vertical import Share


def contention(ledger: Ledger, shares: Sequence[Share]) -> tuple[Reason, ...]:
    """One fact for a revision: of its pods that which is shortest; empty where no row is short."""
    short = [
        (need, share)
        for share in shares
        if (need := ledger.need_of(share.placement.pod)) is not None
        and share.free_percent < max(need.now, min(need.written, need.held))
    ]
    if not short:
        return ()
    need, share = max(short, key=lambda each: (each[0].now - each[1].free_percent, each[0].pod))
    mate = _mate(ledger, need, share)
    facts: dict[str, float | int | str] = {"for": str(mate.revision)} if mate is not None else {}
    if mate is not None and mate.priority != need.priority:
        facts |= {"priority": need.priority, "its_priority": mate.priority}
    if share.free_percent < need.now:
        return (reason("degraded", needs_percent=need.now, gets_percent=share.free_percent, **facts),)
    return (reason("gives-way", from_percent=need.written, to_percent=share.free_percent, **facts),)


def _mate(ledger: Ledger, need: Need, share: Share) -> Need | None:
    """Whose need it is: the most important, then the largest, of the row's other needs."""
    row = ledger.row_of(share.placement)
    if row is None:
        return None
    waiting = [other for other in ledger.needs_in(share.placement.slice.gpu_uuid, row)[1] if not other.placed]
    mates = [other for pod in row.pods if (other := ledger.need_of(pod)) is not None]
    others = [*waiting, *(mate for mate in mates if mate.revision != need.revision)]
    return max(others, key=lambda other: (other.priority, other.now, other.pod), default=None)
