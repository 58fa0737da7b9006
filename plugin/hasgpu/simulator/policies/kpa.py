"""Process simulator, policies kpa-whole and kpa-static: Knative's own algorithm over pods of one fixed slice.

``kpa-whole``: whole GPUs, whatever slice is asked for, and KServe's defaults: never below one pod. ``kpa-static``: a
fraction chosen once from the profile. Ticks, windows and panic are the project's conformant implementation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from hasgpu.decision.kpa import TICK_S, KpaScaler
from hasgpu.decision.load_windows import LoadWindows
from hasgpu.model.decider import DeciderSpec
from hasgpu.model.decision import reason
from hasgpu.model.keys import RevisionKey
from hasgpu.model.load import StatMessage
from hasgpu.simulator.cluster import Cluster
from hasgpu.simulator.deployed import Deployed
from hasgpu.simulator.functions_file import FunctionSpec

from .fixed_slice import fitted

STABLE_WINDOW_S, PANIC_WINDOW_S, GRACE_S = 60.0, 6.0, 30.0

Shape = Callable[[FunctionSpec], tuple[int, int]]
"""SM and quota percent of a function's pods."""


@dataclass(slots=True)
class _Scaled:
    scaler: KpaScaler
    windows: LoadWindows = field(default_factory=lambda: LoadWindows(STABLE_WINDOW_S, PANIC_WINDOW_S))
    zero_since_s: float | None = None


class Kpa:
    """``concurrency`` is the target of requests in flight per pod."""

    tick_s: float | None = float(TICK_S)

    def __init__(self, shape: Shape, concurrency: float, least: int) -> None:
        self._shape, self._least = shape, least
        self._spec = DeciderSpec(
            max_scale_up_rate=1000.0,
            max_scale_down_rate=2.0,
            activator_capacity=100.0,
            scaling_metric="concurrency",
            target_value=concurrency,
            total_value=concurrency,
            target_burst_capacity=-1.0,
            panic_threshold=2.0,
            stable_window_s=STABLE_WINDOW_S,
            panic_window_s=PANIC_WINDOW_S,
            scale_down_delay_s=0.0,
            initial_scale=1,
            activation_scale=0,
            reachable=True,
        )
        self._scaled: dict[RevisionKey, _Scaled] = {}
        self._refused: tuple[float, set[tuple[int, int, int]]] = (0.0, set())
        """Sizes for which there was no room, and at what instant."""

    def start(self, cluster: Cluster) -> None:
        for key, function in cluster.functions.items():
            self._scaled[key] = _Scaled(KpaScaler(self._spec, 0, 0.0))
            self._grow(cluster, function, max(1, self._least, function.spec.min_scale), at_once=True)

    def on_stats(self, cluster: Cluster, stats: Sequence[StatMessage]) -> None:
        for message in stats:
            self._scaled[message.key].windows.record(message.timestamp_s, message)
            function = cluster.functions[message.key]
            if not function.staying():
                self._grow(cluster, function, 1)

    def tick(self, cluster: Cluster) -> None:
        for key, function in cluster.functions.items():
            scaled = self._scaled[key]
            loads = scaled.windows.stable_and_panic("concurrency", cluster.now, scraped=False)
            assert loads is not None  # only a scraped revision can be without data
            ready = len(function.balancer.pods)
            wanted = scaled.scaler.scale(self._spec, cluster.now, ready, *loads).desired_pods
            self._steer(cluster, function, scaled, max(wanted, self._least, function.spec.min_scale), loads)

    def _steer(
        self, cluster: Cluster, function: Deployed, scaled: _Scaled, wanted: int, loads: tuple[float, float]
    ) -> None:
        if function.spec.max_scale:
            wanted = min(wanted, function.spec.max_scale)
        pods = function.staying()
        if wanted == 0 and pods:
            scaled.zero_since_s = cluster.now if scaled.zero_since_s is None else scaled.zero_since_s
            if cluster.now - scaled.zero_since_s < GRACE_S:
                wanted = 1
        else:
            scaled.zero_since_s = None
        if wanted == len(pods):
            return
        facts = reason("kpa", stable=loads[0], panic=loads[1], pods=wanted)
        cluster.log.said(function.key, cluster.now, (facts,))
        if wanted > len(pods):
            self._grow(cluster, function, wanted - len(pods))
            return
        # A ReplicaSet removes pods that are not ready first, then the youngest.
        youngest_first = pods[::-1]
        order = sorted(youngest_first, key=lambda pod: pod.ready)
        for pod in order[: len(pods) - wanted]:
            cluster.remove(pod)

    def _grow(self, cluster: Cluster, function: Deployed, count: int, *, at_once: bool = False) -> None:
        sm, quota = self._shape(function.spec)
        size = (sm, quota, function.spec.memory_bytes)
        if self._refused[0] != cluster.now:
            self._refused = cluster.now, set()
        for _ in range(count):
            found = None if size in self._refused[1] else fitted(cluster.ledger(), *size)
            if found is None:
                self._refused[1].add(size)
                cluster.log.said(function.key, cluster.now, (reason("no-room", sm_percent=sm, quota_percent=quota),))
                return
            cluster.start_pod(function.key, found, at_once=at_once)
