"""Room for a pod that found none, from its own family: a sibling's or predecessor's quota, or at last its place. Pure.

A family is the revisions of one service. First quotas yield: siblings share with the newcomer, predecessors go to
their floor. Only where quota cannot help (memory, SMs, clients) one predecessor's pod leaves, and never the last
Ready one unless the policy says ``recreate``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from hasgpu.model.decision import Reason, reason
from hasgpu.model.gpu import Placement
from hasgpu.model.keys import PodKey, RevisionKey
from hasgpu.model.units import MIN_TIME_QUOTA_PERCENT, QuotaBounds

from .ledger import GpuBooks, Ledger, Row
from .placement import NoRoom, SliceWish, choose_slice, fits_but_for_quota
from .policy import Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class Eviction:
    """One pod that must leave for its successor."""

    pod: PodKey
    reasons: tuple[Reason, ...]


def yielding(
    ledger: Ledger, newcomer: RevisionKey, wish: SliceWish, family: Mapping[RevisionKey, QuotaBounds]
) -> dict[RevisionKey, int]:
    """Quota caps of the newcomer's family that free the least slice in one row; empty where none can."""
    need = max(wish.quota.low.percent, MIN_TIME_QUOTA_PERCENT)
    best: tuple[int, dict[RevisionKey, int]] | None = None
    for books, row in rows_of_its_width(ledger, wish):
        caps = _caps(row, newcomer, need, family)
        room = row.most_percent - sum(_after(pod, caps) for pod in row.pods.values())
        if caps and room >= need and (best is None or room > best[0]) and fits_but_for_quota(books, wish):
            best = (room, caps)
    return best[1] if best is not None else {}


def eviction(
    ledger: Ledger, newcomer: RevisionKey, wish: SliceWish, family: Iterable[RevisionKey], policy: Policy
) -> Eviction | None:
    """The predecessor's pod whose leaving would make room; a pod not yet Ready before a Ready one."""
    predecessors = set(family) - {newcomer}
    everyone = [pod for books in ledger.gpus() for pod in books.placements()]
    old = [pod for pod in everyone if pod.revision in predecessors and not pod.terminating]
    if any(pod.revision in predecessors and pod.terminating for pod in everyone):
        return None
    last_ready = sum(pod.ready for pod in old) <= 1 and not policy.recreate
    for victim in sorted(old, key=lambda pod: (pod.ready, pod.pod)):
        if victim.ready and last_ready:
            continue
        without = Ledger(
            (books.gpu for books in ledger.gpus()),
            (pod for pod in everyone if pod.pod != victim.pod),
            ledger.row_percent,
        )
        if not isinstance(_cheapest(without, wish, policy), NoRoom):
            return Eviction(pod=victim.pod, reasons=(reason("replaced-by-successor", successor=newcomer.name),))
    return None


def _cheapest(ledger: Ledger, wish: SliceWish, policy: Policy) -> object:
    return choose_slice(ledger, wish, 0.0, headroom=1.0, unprofiled_sm_percent=policy.unprofiled_sm_percent)


def rows_of_its_width(ledger: Ledger, wish: SliceWish) -> Iterable[tuple[GpuBooks, Row]]:
    """Rows that a pod could join as far as their width goes."""
    for books in ledger.gpus():
        for row in books.rows.values():
            if wish.sm_partition is None or books.gpu.rounded_up(wish.sm_partition).percent == row.sm_percent:
                yield books, row


def _caps(
    row: Row, newcomer: RevisionKey, need: int, family: Mapping[RevisionKey, QuotaBounds]
) -> dict[RevisionKey, int]:
    """A predecessor yields down to its floor; siblings and the newcomer get equal parts of what they hold."""
    caps: dict[RevisionKey, int] = {}
    for revision, bounds in family.items():
        mine = row.staying(revision)
        if not mine:
            continue
        floor = max(bounds.low.percent, MIN_TIME_QUOTA_PERCENT)
        if revision != newcomer:
            caps[revision] = floor
            continue
        held = sum(pod.held_quota_percent for pod in mine) + row.free_percent
        caps[revision] = max(floor, min(held // (len(mine) + 1), (held - need) // len(mine)))
    return caps


def _after(pod: Placement, caps: Mapping[RevisionKey, int]) -> int:
    """What a pod will hold once it has yielded; one that leaves yields nothing before it is gone."""
    if pod.terminating or pod.revision not in caps:
        return pod.held_quota_percent
    return min(pod.held_quota_percent, caps[pod.revision])
