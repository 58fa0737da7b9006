"""Process autoscaler: slices promised to pods that do not exist yet. Used by one thread; told the time.

Replicas make anonymous pods: the next unplaced pod of a revision takes its first plan. A plan nobody took in
PLAN_S is dropped, and what it was for is decided anew.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from hasgpu.decision.horizontal import planned
from hasgpu.decision.ledger import Ledger
from hasgpu.model.gpu import GpuSlice
from hasgpu.model.keys import PodKey, RevisionKey

PLAN_S = 10.0


@dataclass(frozen=True, slots=True)
class Plan:
    """One promise, the decision it came from, and what the ledger knows it by."""

    slice: GpuSlice
    processes: int
    traceparent: str
    until_s: float
    entry: PodKey
    twin_of: str = ""
    """UID of the pod whose place the next one is to take."""


class PlanBook:
    """Queues of plans by revision."""

    def __init__(self) -> None:
        self._plans: dict[RevisionKey, list[Plan]] = {}
        self._made = 0

    def enter(self, ledger: Ledger, now: float) -> None:
        """Holds every valid plan's room in this pass's ledger; drops what is over or fits no more."""
        for revision, plans in list(self._plans.items()):
            kept = []
            for plan in plans:
                if now < plan.until_s and ledger.refusal(plan.slice, plan.processes) is None:
                    ledger.take(planned(revision, plan.entry, plan.slice, plan.processes))
                    kept.append(plan)
            self._keep(revision, kept)

    def add(
        self,
        revision: RevisionKey,
        slices: Iterable[GpuSlice],
        processes: int,
        traceparent: str,
        now: float,
        *,
        twin_of: str = "",
    ) -> None:
        """Promises made by a decision; the deciding pass's ledger holds them already."""
        for entry in slices:
            self._made += 1
            key = PodKey(revision.namespace, f"{revision.name} plan", f"plan-{self._made}")
            plan = Plan(entry, processes, traceparent, now + PLAN_S, key, twin_of)
            self._plans.setdefault(revision, []).append(plan)

    def of(self, revision: RevisionKey) -> tuple[GpuSlice, ...]:
        """The revision's open plans."""
        return tuple(plan.slice for plan in self._plans.get(revision, ()))

    def take(self, revision: RevisionKey, ledger: Ledger) -> Plan | None:
        """The first plan, its room given back to the ledger for the pod that takes it."""
        plans = self._plans.get(revision)
        if not plans:
            return None
        plan, *left = plans
        self._keep(revision, left)
        ledger.leave(plan.entry)
        return plan

    def drop(self, revision: RevisionKey) -> None:
        """The revision is gone, or needs no more pods."""
        self._plans.pop(revision, None)

    def clear(self) -> None:
        """Another leads."""
        self._plans.clear()

    def _keep(self, revision: RevisionKey, plans: list[Plan]) -> None:
        if plans:
            self._plans[revision] = plans
        else:
            self._plans.pop(revision, None)
