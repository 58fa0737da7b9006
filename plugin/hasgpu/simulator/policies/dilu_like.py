"""Process simulator, policy dilu-like: fast vertical between a request and a limit, lazy horizontal (ASPLOS'25).

Each pod is placed with its request; its quota follows the load of the last seconds up to its limit while its row has
the time. Pods are added or removed only where the load asked for it in most of a long window.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from hasgpu.model.decision import reason
from hasgpu.model.keys import RevisionKey
from hasgpu.model.load import StatMessage
from hasgpu.simulator.believed import Belief
from hasgpu.simulator.cluster import Cluster
from hasgpu.simulator.deployed import Deployed

from .fixed_slice import fitted
from .throughput import Sizing, Throughput, allowed, throughput_of
from .trailing_rate import LastSeconds

QUOTAS = tuple(range(10, 101, 10))


@dataclass(slots=True)
class _Scaled:
    throughput: Throughput
    unit: tuple[int, int]
    """SM and the quota that is requested."""
    limit: int
    rate: LastSeconds = field(default_factory=lambda: LastSeconds(2))
    wishes: deque[int] = field(default_factory=lambda: deque(maxlen=1))
    """Of the last seconds: 1 too small at the limit, -1 one pod too many at the request, else 0."""


class DiluLike:
    """``window`` seconds of laziness, of which ``most`` must agree."""

    tick_s: float | None = 1.0

    def __init__(self, belief: Belief, *, sizing: Sizing, growth: float, window: int, most: float) -> None:
        self._belief, self._sizing, self._growth = belief, sizing, growth
        self._window, self._most = window, most
        self._scaled: dict[RevisionKey, _Scaled] = {}

    def start(self, cluster: Cluster) -> None:
        for key, function in cluster.functions.items():
            throughput = throughput_of(function.spec, self._belief, self._sizing)
            # Where no slice that leaves room to grow meets the SLO, one that leaves less.
            unit = throughput.best_unit(tuple(q for q in QUOTAS if q * self._growth <= 100), QUOTAS)
            limit = allowed(function.spec, min(100, int(unit[1] * self._growth)))
            scaled = _Scaled(throughput, unit, limit, wishes=deque(maxlen=self._window))
            self._scaled[key] = scaled
            for _ in range(max(1, function.spec.min_scale)):
                self._add(cluster, function, scaled, at_once=True)

    def on_stats(self, cluster: Cluster, stats: Sequence[StatMessage]) -> None:
        for message in stats:
            self._scaled[message.key].rate.count(cluster.now, message.request_count)

    def tick(self, cluster: Cluster) -> None:
        for key, function in cluster.functions.items():
            scaled = self._scaled[key]
            demand = scaled.rate.per_s(cluster.now)
            self._vertical(cluster, function, scaled, demand)
            self._horizontal(cluster, function, scaled, demand)

    def _vertical(self, cluster: Cluster, function: Deployed, scaled: _Scaled, demand: float) -> None:
        pods = [pod for pod in function.staying() if pod.ready]
        if not pods:
            return
        part = demand / len(pods)
        steps = (*range(scaled.unit[1], scaled.limit, 5), scaled.limit)
        wanted = next((q for q in steps if scaled.throughput.per_s(scaled.unit[0], q) >= part), scaled.limit)
        for pod in pods:
            row = cluster.devices[pod.slice.gpu_uuid].rows[pod.slice.row]
            others = sum(max(mate.slice.time_quota.percent, mate.laid_percent) for mate in row.pods if mate is not pod)
            quota = min(wanted, 100 - others)
            if quota != pod.slice.time_quota.percent and quota >= 5:
                cluster.write_quota(pod, quota)

    def _horizontal(self, cluster: Cluster, function: Deployed, scaled: _Scaled, demand: float) -> None:
        pods = function.staying()
        at_limit = len(pods) * scaled.throughput.per_s(scaled.unit[0], scaled.limit)
        without = (len(pods) - 1) * scaled.throughput.per_s(*scaled.unit)
        scaled.wishes.append(1 if demand > at_limit else -1 if demand < without else 0)
        enough = self._most * self._window
        most = function.spec.max_scale or 10**6
        if not pods or (scaled.wishes.count(1) >= enough and len(pods) < most):
            cluster.log.said(function.key, cluster.now, (reason("scale-out", demand_per_s=demand),))
            self._add(cluster, function, scaled)
            scaled.wishes.clear()
        elif scaled.wishes.count(-1) >= enough and len(pods) > max(1, function.spec.min_scale):
            cluster.log.said(function.key, cluster.now, (reason("scale-in", demand_per_s=demand),))
            cluster.remove(min(pods, key=lambda pod: pod.ready))
            scaled.wishes.clear()

    def _add(self, cluster: Cluster, function: Deployed, scaled: _Scaled, *, at_once: bool = False) -> None:
        found = fitted(cluster.ledger(), *scaled.unit, function.spec.memory_bytes)
        if found is None:
            cluster.log.said(function.key, cluster.now, (reason("no-room", sm_percent=scaled.unit[0]),))
            return
        cluster.start_pod(function.key, found, at_once=at_once)
