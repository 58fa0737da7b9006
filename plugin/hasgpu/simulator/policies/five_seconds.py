"""Process simulator, policies clairvoyant-5s and rate-5s: comparators that hold a quota for five seconds.

Both know the truth and act without delay. ``clairvoyant-5s`` knows every arrival and takes the least quota that
keeps the allowed share of the next five seconds in time; ``rate-5s`` knows only how many requests will come. For
each function the number of pods, their SM share and the one knob are searched over whole runs, each with rows of its
own; the cheapest that holds the percentile is taken.

The search is bounded: 12 SM shares by 6 numbers of pods at most, of which those count that come near the busiest five
seconds, each with 12 settings of the knob. What quotas by the rate cost is known beforehand, so they are tried from the
cheapest on; the first that holds is the answer, and a run ends as soon as too many requests are late.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hasgpu.model.capacity import CapacityTable
from hasgpu.model.decision import reason
from hasgpu.model.load import StatMessage
from hasgpu.simulator.cluster import Cluster
from hasgpu.simulator.functions_file import FunctionSpec
from hasgpu.simulator.pod import Pod
from hasgpu.simulator.run import Setup, drawn_requests
from hasgpu.simulator.trial import Trial

from .fixed_slice import fitted
from .true_table import true_table

HOLD_S = 5.0
LEAST_PERCENT = 5
COUNTS = (1, 2, 3, 4, 6, 8)
LOOSENED = (1.0, 3.0, 10.0)
"""Tables that rate-5s tries: so many times the allowed share late; a table is careful, a run need not be."""
FACTORS = (0.7, 0.85, 1.0, 1.2)
ALLOWANCES = (0.6, 1.0)
SHARES = (5, 10, 15, 20, 25, 30, 35, 40, 50, 60, 80, 100)


@dataclass(frozen=True, slots=True)
class Plan:
    """Pods of one SM share and the quota of each five seconds."""

    sm_percent: int
    pods: int
    quotas: tuple[int, ...]

    @property
    def cost(self) -> int:
        """Σ SM x quota."""
        return self.sm_percent * self.pods * sum(self.quotas)


class FiveSeconds:
    """``knows_arrivals`` tells the two apart."""

    tick_s: float | None = HOLD_S

    def __init__(self, setup: Setup, *, knows_arrivals: bool) -> None:
        self._setup, self._knows_arrivals = setup, knows_arrivals
        self._plans: dict[str, Plan] = {}
        self._pods: dict[str, list[Pod]] = {}

    def start(self, cluster: Cluster) -> None:
        for function in cluster.functions.values():
            spec = function.spec
            plan = _Search(self._setup, spec, self._knows_arrivals).best()
            self._plans[spec.name] = plan
            facts = reason("shape", sm_percent=plan.sm_percent, pods=plan.pods)
            cluster.log.said(function.key, 0.0, (facts,))
            for _ in range(plan.pods):
                # Rows of its own: it asks for all of their time, then takes what it needs.
                found = fitted(cluster.ledger(), plan.sm_percent, 100, spec.memory_bytes)
                if found is None:
                    raise ValueError(f"{spec.name}: {plan.pods} rows of {plan.sm_percent} % need more GPUs")
                self._pods.setdefault(spec.name, []).append(cluster.start_pod(function.key, found, at_once=True))
        self.tick(cluster)

    def on_stats(self, cluster: Cluster, stats: Sequence[StatMessage]) -> None:
        """It needs no telling."""

    def tick(self, cluster: Cluster) -> None:
        for name, plan in self._plans.items():
            slot = min(round(cluster.now / HOLD_S), len(plan.quotas) - 1)
            for pod in self._pods[name]:
                cluster.set_quota_now(pod, plan.quotas[slot])


class _Search:
    """Over shapes for one function; a trial that has become too late, or dearer than the best, is given up."""

    def __init__(self, setup: Setup, spec: FunctionSpec, knows_arrivals: bool) -> None:
        self._setup, self._spec, self._knows_arrivals = setup, spec, knows_arrivals
        self._slots = max(1, int(np.ceil(setup.workload.horizon_s / HOLD_S)))
        self._low = max(LEAST_PERCENT, spec.intent.quota.low.percent)
        self._high = spec.intent.quota.high.percent
        self._allowed = 1.0 - spec.intent.slo_percentile / 100.0
        self._requests = drawn_requests(setup, spec)
        self._counts = np.bincount((self._requests.arrivals() / HOLD_S).astype(int), minlength=self._slots)[
            : self._slots
        ]
        self._busiest = int(self._counts.max(initial=0)) / HOLD_S
        self._best: Plan | None = None
        self._least_cost = float("inf")

    def best(self) -> Plan:
        """The cheapest plan that holds the percentile; where none does, whole GPUs all the time."""
        tables = [self._table(part) for part in LOOSENED]
        shapes = sorted(self._shapes(tables[-1]), key=lambda shape: shape[0] * shape[1])
        plans = [plan for sm, pods in shapes for plan in self._by_rate(tables, sm, pods)]
        for plan in sorted(plans, key=lambda plan: plan.cost):
            if self._best is None:
                self._run(plan.sm_percent, plan.pods, lambda _, slot, of=plan.quotas: of[slot])  # type: ignore[misc]
        if self._knows_arrivals:
            for sm, pods in shapes:
                for knob in ALLOWANCES:
                    self._run(sm, pods, _ByArrivals(self._counts, self._allowed * knob, self._low, self._high).quota)
        return self._best or Plan(shapes[-1][0], shapes[-1][1], (self._high,) * self._slots)

    def _table(self, part: float) -> CapacityTable:
        percentile = 100.0 * (1.0 - min(0.5, self._allowed * part))
        return true_table(self._spec, self._setup.gate, self._setup.window_s, percentile)

    def _shapes(self, table: CapacityTable) -> list[tuple[int, int]]:
        """Shapes that come near the busiest five seconds, and not too far above."""
        explicit = self._spec.intent.sm_partition
        shares = (explicit.percent,) if explicit is not None else SHARES
        near = [
            (sm, pods)
            for sm in shares
            for pods in COUNTS
            if 0.7 * self._busiest <= table.rate(sm, self._high) * pods
            and table.rate(sm, self._high) * (pods - 2) <= self._busiest
        ]
        return near or [(shares[-1], COUNTS[-1])]

    def _by_rate(self, tables: Sequence[CapacityTable], sm: int, pods: int) -> Iterator[Plan]:
        """One for each table and factor."""
        for table in tables:
            for factor in FACTORS:
                rates = self._counts / HOLD_S / pods * factor
                quotas = (table.least_quota(sm, float(rate), self._low, self._high) or self._high for rate in rates)
                yield Plan(sm, pods, tuple(quotas))

    def _run(self, sm: int, pods: int, quota: Callable[[Trial, int], int]) -> None:
        if sm * pods * self._low * self._slots >= self._least_cost:
            return
        trial = Trial(self._setup, self._spec, sm, pods, self._requests)
        most_late = self._allowed * self._requests.count
        quotas: list[int] = []
        for slot in range(self._slots):
            if sm * pods * sum(quotas) >= self._least_cost:
                return
            quotas.append(quota(trial, slot))
            trial.serve(quotas[-1], (slot + 1) * HOLD_S)
            if trial.late() > most_late:
                return
        plan = Plan(sm, pods, tuple(quotas))
        if plan.cost < self._least_cost and trial.end().late_share <= self._allowed:
            self._best, self._least_cost = plan, plan.cost


class _ByArrivals:
    """The least quota that keeps the late requests within what has been earned so far."""

    def __init__(self, counts: NDArray[np.int64], allowed: float, low: int, high: int) -> None:
        self._low, self._high = low, high
        self._earned, self._allowed, self._late = counts.cumsum(), allowed, 0

    def quota(self, trial: Trial, slot: int) -> int:
        """For one slot."""
        until_s = (slot + 1) * HOLD_S
        most_late = max(0, int(self._allowed * self._earned[slot]) - self._late)
        low, high = self._low, self._high
        while low < high:
            middle = (low + high) // 2
            if trial.late_if(middle, until_s) <= most_late:
                high = middle
            else:
                low = middle + 1
        self._late += trial.late_if(low, until_s)
        return low
