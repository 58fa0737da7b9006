"""Process simulator, policies fast-gshare and infless-like: pods are added and removed, quotas never change.

``fast-gshare`` (ICPP'23 as its artifact scales): unit pods of the most efficient slice, kept within a band around the
trailing rate. ``infless-like`` (ASPLOS'22): each new instance is of the size that serves the residual load at the
least cost, so instances differ; an instance stays alive for a while after it was needed last.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from hasgpu.model.decision import reason
from hasgpu.model.keys import RevisionKey
from hasgpu.model.load import StatMessage
from hasgpu.simulator.believed import Belief
from hasgpu.simulator.cluster import Cluster
from hasgpu.simulator.deployed import Deployed
from hasgpu.simulator.pod import Pod

from .fixed_slice import fitted
from .throughput import Sizing, Throughput, throughput_of
from .trailing_rate import TrailingRate

QUOTAS = tuple(range(10, 101, 10))


@dataclass(slots=True)
class _Scaled:
    throughput: Throughput
    rate: TrailingRate
    unit: tuple[int, int]
    needed_s: float = 0.0
    sizes: dict[int, tuple[int, int]] = field(default_factory=dict)


class UnitPods:
    """``uniform``: all pods of one size (fast-gshare); else each as the residual asks (infless-like)."""

    tick_s: float | None = 2.0

    def __init__(self, belief: Belief, *, sizing: Sizing, band: float, uniform: bool, keep_s: float) -> None:
        self._belief, self._sizing, self._band = belief, sizing, band
        self._uniform, self._keep_s = uniform, keep_s
        self._scaled: dict[RevisionKey, _Scaled] = {}

    def start(self, cluster: Cluster) -> None:
        for key, function in cluster.functions.items():
            throughput = throughput_of(function.spec, self._belief, self._sizing)
            scaled = _Scaled(throughput, TrailingRate(10.0), throughput.best_unit(QUOTAS))
            self._scaled[key] = scaled
            for _ in range(max(1, function.spec.min_scale)):
                self._add(cluster, function, scaled.unit, at_once=True)

    def on_stats(self, cluster: Cluster, stats: Sequence[StatMessage]) -> None:
        for message in stats:
            self._scaled[message.key].rate.count(cluster.now, message.request_count)

    def tick(self, cluster: Cluster) -> None:
        for key, function in cluster.functions.items():
            scaled = self._scaled[key]
            demand = scaled.rate.per_s(cluster.now)
            pods = function.staying()
            carried = sum(self._worth(scaled, pod) for pod in pods)
            if demand > carried * (1.0 if not self._uniform else 1.0 / (1.0 - self._band)) or not pods:
                self._grow(cluster, function, scaled, demand - carried)
                scaled.needed_s = cluster.now
            elif not self._shrink(cluster, function, scaled, demand, carried):
                scaled.needed_s = cluster.now

    def _worth(self, scaled: _Scaled, pod: Pod) -> float:
        return scaled.throughput.per_s(pod.sm_percent, pod.slice.time_quota.percent)

    def _grow(self, cluster: Cluster, function: Deployed, scaled: _Scaled, deficit: float) -> None:
        most = function.spec.max_scale or 10**6
        while (deficit > 0.0 or not function.staying()) and len(function.staying()) < most:
            size = scaled.unit if self._uniform else self._fitting(scaled, deficit)
            worth = scaled.throughput.per_s(*size)
            if not self._add(cluster, function, size) or worth <= 0.0:
                return
            deficit -= worth

    def _fitting(self, scaled: _Scaled, residual: float) -> tuple[int, int]:
        """The cheapest size that serves the residual alone; where none does, the most efficient."""
        fits = [
            (sm * quota, sm, quota)
            for sm in scaled.throughput.sm_percents
            for quota in scaled.throughput.within(QUOTAS)
            if scaled.throughput.per_s(sm, quota) >= residual > 0.0
        ]
        efficient = scaled.unit
        if not fits:
            return efficient
        cost, sm, quota = min(fits)
        several = math.ceil(residual / max(scaled.throughput.per_s(*efficient), 1e-9))
        return (sm, quota) if cost <= several * efficient[0] * efficient[1] else efficient

    def _shrink(self, cluster: Cluster, function: Deployed, scaled: _Scaled, demand: float, carried: float) -> bool:
        """Removes the least useful pod that the rest can do without; True where there is one too many."""
        pods = function.staying()
        if len(pods) <= max(1, function.spec.min_scale):
            return False
        least = min(pods, key=lambda pod: (pod.ready, self._worth(scaled, pod)))
        rest = carried - self._worth(scaled, least)
        if demand > rest * (1.0 - self._band):
            return False
        if cluster.now - scaled.needed_s >= self._keep_s:
            cluster.log.said(function.key, cluster.now, (reason("scale-in", demand_per_s=demand, rest_per_s=rest),))
            cluster.remove(least)
        return True

    def _add(self, cluster: Cluster, function: Deployed, size: tuple[int, int], *, at_once: bool = False) -> bool:
        found = fitted(cluster.ledger(), *size, function.spec.memory_bytes)
        if found is None:
            cluster.log.said(function.key, cluster.now, (reason("no-room", sm_percent=size[0]),))
            return False
        if not at_once:
            facts = reason("scale-out", sm_percent=size[0], quota_percent=size[1])
            cluster.log.said(function.key, cluster.now, (facts,))
        cluster.start_pod(function.key, found, at_once=at_once)
        return True
