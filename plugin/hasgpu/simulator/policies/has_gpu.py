"""Process simulator, policies has-gpu-published and has-gpu-intended: the paper's autoscaler (Euro-Par 2025).

``published`` follows its artifact with what is wrong in it (`research`: one Kalman state for all functions whose bias
compounds, occupancy that is always 0, capacities of a wrong batch from a table with holes, no SLO, no way below one
pod, start at 30 %/30 %).
``intended`` is the same law with those repaired: a filter per function, capacities from the profile for slices that
meet the SLO, deficits that are fitted, rows that never exceed the GPU.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from hasgpu.model.decision import reason
from hasgpu.model.keys import RevisionKey
from hasgpu.model.load import StatMessage
from hasgpu.model.profile import LatencyProfile
from hasgpu.simulator.believed import Belief, surface_of
from hasgpu.simulator.cluster import Cluster
from hasgpu.simulator.deployed import Deployed
from hasgpu.simulator.functions_file import FunctionSpec
from hasgpu.simulator.pod import Pod

from .fixed_slice import fitted
from .throughput import Sizing, Throughput, allowed, throughput_of
from .trailing_rate import TrailingRate

DOWN, STEP, COOLDOWN_S, LEAST_QUOTA = 0.3, 10, 10.0, 10
QUOTAS = tuple(range(LEAST_QUOTA, 101, STEP))
START = (30, 30)
FRONT_END_S = 0.07
SCRAPE_S = 5.0
"""How often the artifact's counter is read, at a phase against the load that nobody knows. Its ``rate(counter[10s])``
always holds two readings, which Prometheus extrapolates: that is the rate of the last five seconds, not of ten."""
SETTLED = 60
"""Ticks after which the compounding filter's state stands still."""
BATCH = 4
MISNAMED = ("mobilenet_v3_large", "shufflenet_v2_x0_5")
"""Models that the artifact's tables know by another name: it takes their capacity for 0 and gives them all the time."""
UNLISTED = {"resnet50": (60, 80), "convnext_large": (60,)}
"""Quotas that the artifact's tables lack: it takes their capacity for 0 and steps over them."""


@dataclass(slots=True)
class Kalman:
    """The artifact's scalar filter: A = H = Q = 1, R = 10."""

    estimate: float = 0.0
    variance: float = 1.0

    def update(self, measured: float, *, compounding: bool) -> float:
        """What is expected next; ``compounding``: the deviation is added into the state, again and again."""
        predicted = self.variance + 1.0
        gain = predicted / (predicted + 10.0)
        self.estimate += gain * (measured - self.estimate)
        self.variance = (1.0 - gain) * predicted
        margin = math.sqrt(self.variance)
        if compounding:
            self.estimate = max(self.estimate + margin, measured + 5.0)
            return self.estimate
        return max(self.estimate + margin, measured)


@dataclass(slots=True)
class _Scaled:
    throughput: Throughput
    rate: TrailingRate
    kalman: Kalman
    start: tuple[int, int]
    lowered_s: float = -COOLDOWN_S


class HasGpu:
    """``published`` tells the two apart; ``up`` is the used part of the capacity above which it grows."""

    tick_s: float | None = 2.0

    def __init__(
        self,
        belief: Belief,
        *,
        published: bool,
        up: float = 0.9,
        slack: float = 1.0,
        start: tuple[int, int] = START,
        phase_s: float = 0.0,
    ) -> None:
        self._belief, self._published, self._up = belief, published, up
        self._start, self._phase_s, self._slack = start, phase_s, slack
        self._scaled: dict[RevisionKey, _Scaled] = {}

    def start(self, cluster: Cluster) -> None:
        shared = Kalman()
        for _ in range(SETTLED):
            # The one filter has run, without load, long before the function is asked for anything.
            shared.update(0.0, compounding=True)
        for key, function in cluster.functions.items():
            throughput = throughput_of(function.spec, self._belief, Sizing(1.0, self._slack))
            sm = function.spec.intent.sm_partition
            start = (self._start[0] if sm is None else sm.percent, allowed(function.spec, self._start[1]))
            if not self._published:
                start = throughput.best_unit(QUOTAS)
            kalman = shared if self._published else Kalman()
            rate = TrailingRate(SCRAPE_S, SCRAPE_S, self._phase_s) if self._published else TrailingRate(10.0)
            scaled = _Scaled(throughput, rate, kalman, start)
            self._scaled[key] = scaled
            for _ in range(max(1, function.spec.min_scale)):
                self._add(cluster, function, start, at_once=True)

    def on_stats(self, cluster: Cluster, stats: Sequence[StatMessage]) -> None:
        for message in stats:
            self._scaled[message.key].rate.count(cluster.now, message.request_count)

    def tick(self, cluster: Cluster) -> None:
        for key, function in cluster.functions.items():
            scaled = self._scaled[key]
            expected = scaled.kalman.update(scaled.rate.per_s(cluster.now), compounding=self._published)
            pods = [pod for pod in function.staying() if pod.ready]
            if not pods:
                if not function.staying():
                    self._add(cluster, function, scaled.start)
                continue
            capacity = sum(self._carries(scaled, function.spec, pod) for pod in pods)
            if expected > self._up * capacity:
                self._grow(cluster, function, scaled, pods, expected - self._up * capacity)
            elif expected < DOWN * capacity and cluster.now - scaled.lowered_s >= COOLDOWN_S:
                scaled.lowered_s = cluster.now
                self._shrink(cluster, function, scaled, pods, self._up * capacity - expected)

    def _carries(self, scaled: _Scaled, spec: FunctionSpec, pod: Pod) -> float:
        return self._capacity(scaled, spec, pod.sm_percent, pod.slice.time_quota.percent)

    def _capacity(self, scaled: _Scaled, spec: FunctionSpec, sm: int, quota: int) -> float:
        """Requests/s of a slice as it thinks: published, a mean over 70 ms and half a batch of four."""
        if not self._published:
            return scaled.throughput.per_s(sm, quota)
        if spec.profile.model in MISNAMED or quota in UNLISTED.get(spec.profile.model, ()):
            return 0.0
        listed_s = _listed_s(spec.profile, sm, quota)
        if listed_s is None:
            surface = surface_of(spec, self._belief.product)
            listed_s = max(surface.work_s(BATCH, sm), surface.launch_s(quota))
        return (BATCH + 1) / 2.0 / (listed_s + FRONT_END_S)

    def _grow(self, cluster: Cluster, function: Deployed, scaled: _Scaled, pods: list[Pod], deficit: float) -> None:
        for pod in sorted(pods, key=lambda each: -each.sm_percent):
            before = self._carries(scaled, function.spec, pod)
            quota, gain = pod.slice.time_quota.percent, 0.0
            free = min(function.spec.intent.quota.high.percent, 100 - self._held_by_others(cluster, pod)) - quota
            steps = 1
            while steps * STEP <= free and gain < deficit:
                quota = pod.slice.time_quota.percent + steps * STEP
                gain = self._capacity(scaled, function.spec, pod.sm_percent, quota) - before
                steps += 1
            deficit -= gain
            # The artifact writes every pod, also where nothing changes.
            if quota != pod.slice.time_quota.percent or self._published:
                cluster.write_quota(pod, quota)
        if deficit > 0.0:
            self._widen(cluster, function, scaled, deficit)

    def _widen(self, cluster: Cluster, function: Deployed, scaled: _Scaled, deficit: float) -> None:
        """A pod more, of what the deficit needs. Published: none, its rows of unused GPUs are never offered."""
        if self._published:
            return
        if function.spec.max_scale and len(function.staying()) >= function.spec.max_scale:
            return
        if any(not pod.ready for pod in function.staying()):
            return
        sm = scaled.start[0]
        quotas = scaled.throughput.within(QUOTAS)
        for quota in quotas:
            enough = self._capacity(scaled, function.spec, sm, quota) >= deficit or quota == quotas[-1]
            if enough and self._add(cluster, function, (sm, quota)):
                return

    def _shrink(self, cluster: Cluster, function: Deployed, scaled: _Scaled, pods: list[Pod], excess: float) -> None:
        for pod in sorted(pods, key=lambda each: each.sm_percent):
            before = self._carries(scaled, function.spec, pod)
            written = quota = pod.slice.time_quota.percent
            loss = 0.0
            least = max(LEAST_QUOTA, function.spec.intent.quota.low.percent)
            while quota - STEP >= least and loss < excess:
                lower = before - self._capacity(scaled, function.spec, pod.sm_percent, quota - STEP)
                if lower > excess and not self._published:
                    break
                quota, loss = quota - STEP, lower
            excess -= loss
            if quota != written:
                cluster.write_quota(pod, quota)
        for pod in pods:
            removable = pod.sm_percent <= 50 or not self._published
            carried = self._carries(scaled, function.spec, pod)
            if removable and carried <= excess and len(function.staying()) > max(1, function.spec.min_scale):
                excess -= carried
                cluster.remove(pod)

    def _held_by_others(self, cluster: Cluster, pod: Pod) -> int:
        row = cluster.devices[pod.slice.gpu_uuid].rows[pod.slice.row]
        return sum(max(each.slice.time_quota.percent, each.laid_percent) for each in row.pods if each is not pod)

    def _add(self, cluster: Cluster, function: Deployed, size: tuple[int, int], *, at_once: bool = False) -> bool:
        found = fitted(cluster.ledger(), *size, function.spec.memory_bytes)
        if found is None:
            return False
        if not at_once:
            facts = reason("scale-out", sm_percent=size[0], quota_percent=size[1])
            cluster.log.said(function.key, cluster.now, (facts,))
        cluster.start_pod(function.key, found, at_once=at_once)
        return True


@lru_cache(maxsize=10_000)
def _listed_s(profile: LatencyProfile, sm: int, quota: int) -> float | None:
    """The measured cell at the artifact's batch: where its table has one, that is what it holds."""
    cells = (cell for measurement in profile.measurements for cell in measurement.cells)
    found = (c for c in cells if (c.batch, c.sm_percent, c.quota_percent) == (BATCH, sm, quota))
    return next((cell.latency_ms / 1000.0 for cell in found), None)
