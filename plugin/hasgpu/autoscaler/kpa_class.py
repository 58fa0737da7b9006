"""Process autoscaler: class kpa.autoscaling.knative.dev. Collects load and ticks each revision's algorithm every 2 s.

Calls no API server. What is decided is read with ``wanted``; a change is announced with ``on_change``.
Reference: knative/serving pkg/autoscaler/scaling/multiscaler.go and metrics/collector.go.
"""

from __future__ import annotations

import heapq
import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from hasgpu.cluster.knative import MetricSpec, PodAutoscaler
from hasgpu.decision.kpa import TICK_S, KpaScaler
from hasgpu.decision.load_windows import LoadWindows
from hasgpu.decision.windows import BUCKET_S
from hasgpu.model.decider import Aggregation, DeciderSpec, ScaleResult
from hasgpu.model.go_values import within_int32
from hasgpu.model.keys import RevisionKey
from hasgpu.model.load import StatMessage

from .scaling_class import Wanted

log = logging.getLogger(__name__)

_NS = 1e9
_GRID_S = 0.125
"""Ticks fall on multiples of this, so that a few are done at a time: a wake-up for each costs more than the ticks."""


@dataclass(slots=True)
class Collection:
    """The load of one Metric object."""

    windows: LoadWindows
    stable_window_s: float
    scrape_target: str


@dataclass(slots=True)
class _Decider:
    spec: DeciderSpec
    scaler: KpaScaler
    wanted: Wanted
    last: ScaleResult | None = None
    labels: dict[str, str] = field(default_factory=dict)


class KpaClass:
    """One lock guards all: whatever is done under it takes microseconds."""

    activation_times_out = True
    scrapes = True

    def __init__(
        self,
        *,
        ready_pods: Callable[[RevisionKey], int],
        on_change: Callable[[RevisionKey], None],
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ready_pods = ready_pods
        self._on_change = on_change
        # Load is told in wall time; ticks must go on when that clock is set back.
        self._clock = clock
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._deciders: dict[RevisionKey, _Decider] = {}
        self._collections: dict[RevisionKey, Collection] = {}
        self._ticks: list[tuple[float, int, RevisionKey, _Decider]] = []
        self._sequence = 0
        self._undecided: set[RevisionKey] = set()
        self._stopping = threading.Event()
        self._added = threading.Event()

    def wanted(self, pa: PodAutoscaler, spec: DeciderSpec, now: float) -> Wanted:
        """The last decision; a revision seen first starts its ticks, the first of them in two seconds."""
        key = RevisionKey(pa.metadata.namespace, pa.metadata.name)
        with self._lock:
            decider = self._deciders.get(key)
            if decider is None:
                scaler = KpaScaler(spec, self._ready_pods(key), now)
                initial = Wanted(pods=-1, excess_burst_capacity=_initial_burst(spec))
                decider = self._deciders[key] = _Decider(spec, scaler, initial, labels=pa.metadata.labels)
                self._undecided.add(key)
                self._sequence += 1
                heapq.heappush(self._ticks, (_on_grid(self._monotonic() + TICK_S), self._sequence, key, decider))
                if len(self._ticks) == 1:
                    self._added.set()
            decider.spec = spec
            return decider.wanted

    def forget(self, key: RevisionKey) -> None:
        """Ends the ticks; the collection follows the Metric object."""
        with self._lock:
            self._deciders.pop(key, None)
            self._undecided.discard(key)

    def collect(self, key: RevisionKey, spec: MetricSpec, aggregation: Aggregation) -> None:
        """Follow a Metric object; ValueError for windows shorter than a bucket.

        As upstream, a changed aggregation needs a new Metric.
        """
        stable_s, panic_s = spec.stable_window_ns / _NS, spec.panic_window_ns / _NS
        if min(stable_s, panic_s) < BUCKET_S:
            raise ValueError(f"{key}: windows of {stable_s} and {panic_s} s; a bucket has {BUCKET_S} s")
        with self._lock:
            found = self._collections.get(key)
            if found is None:
                windows = LoadWindows(stable_s, panic_s, aggregation)
                self._collections[key] = Collection(windows, stable_s, spec.scrape_target)
            else:
                found.windows.resize(stable_s, panic_s, self._clock())
                found.stable_window_s, found.scrape_target = stable_s, spec.scrape_target

    def stop_collecting(self, key: RevisionKey) -> None:
        """The Metric object is gone."""
        with self._lock:
            self._collections.pop(key, None)

    def collection(self, key: RevisionKey) -> Collection | None:
        """What to scrape for a revision."""
        return self._collections.get(key)

    def on_stats(self, messages: Sequence[StatMessage]) -> None:
        """Record load. A revision at zero with a request waiting is decided at once."""
        woken: list[RevisionKey] = []
        collections, deciders = self._collections, self._deciders
        with self._lock:
            for message in messages:
                key = message.key
                collection = collections.get(key)
                if collection is not None:
                    try:
                        collection.windows.record(message.timestamp_s, message)
                    except Exception:
                        # The revision's edge: all others are in this frame, and activators on this connection.
                        log.exception("%s: a report is not taken", key)
                if message.average_concurrent_requests != 0:
                    decider = deciders.get(key)
                    if decider is not None and decider.wanted.pods == 0:
                        woken.append(key)
        for key in woken:
            self.tick(key, self._clock())

    def tick(self, key: RevisionKey, now: float) -> None:
        """Evaluate one revision."""
        with self._lock:
            decider = self._deciders.get(key)
            changed = decider is not None and self._evaluated(key, decider, now)
        if changed:
            self._on_change(key)

    def run(self) -> None:
        """Ticks until ``stop``; the body of a thread of its own."""
        while not self._stopping.is_set():
            self._added.clear()
            try:
                wait_s = self.tick_due(self._monotonic())
            except Exception:
                # The loop's edge: without it all revisions would keep the pods they have, and nothing would say so.
                log.exception("class kpa: a round of ticks failed")
                wait_s = TICK_S
            self._added.wait(wait_s)

    def stop(self) -> None:
        """Ends ``run``."""
        self._stopping.set()
        self._added.set()

    def tick_due(self, at: float) -> float | None:
        """Tick every revision that is due at the monotonic time ``at``; seconds until the next one is."""
        changed: list[RevisionKey] = []
        ticks, deciders, now = self._ticks, self._deciders, self._clock()
        with self._lock:
            undecided = len(self._undecided)
            while ticks and ticks[0][0] <= at:
                due, sequence, key, decider = ticks[0]
                if deciders.get(key) is not decider:
                    heapq.heappop(ticks)
                    continue
                # A ticker that fell behind skips ticks instead of catching up on them.
                following = due + TICK_S * ((at - due) // TICK_S + 1)
                heapq.heapreplace(ticks, (following, sequence, key, decider))
                if self._evaluated(key, decider, now):
                    changed.append(key)
            due_s = ticks[0][0] - at if ticks else None
            complete = bool(undecided) and not self._undecided
        if complete:
            log.info("a first decision is made for all of %d revisions", len(deciders))
        for key in changed:
            self._on_change(key)
        return due_s

    def late_s(self) -> float:
        """How long the next tick has been due."""
        with self._lock:
            return max(0.0, self._monotonic() - self._ticks[0][0]) if self._ticks else 0.0

    def results(self) -> list[tuple[RevisionKey, dict[str, str], DeciderSpec, ScaleResult]]:
        """The last evaluation of each revision, for /metrics."""
        with self._lock:
            return [(key, d.labels, d.spec, d.last) for key, d in self._deciders.items() if d.last is not None]

    def _evaluated(self, key: RevisionKey, decider: _Decider, now: float) -> bool:
        """The revision's edge: what one brings up must not end the ticks of all others."""
        try:
            return self._evaluate(key, decider, now)
        except Exception:
            log.exception("%s: not evaluated", key)
            return False

    def _evaluate(self, key: RevisionKey, decider: _Decider, now: float) -> bool:
        """Did the wish change enough to reconcile? The sign of the burst capacity moves the activator."""
        collection = self._collections.get(key)
        if collection is None:
            return False
        load = collection.windows.stable_and_panic(
            decider.spec.scaling_metric, now, scraped=bool(collection.scrape_target)
        )
        if load is None:
            return False
        result = decider.scaler.scale(decider.spec, now, self._ready_pods(key), *load)
        if decider.last is None:
            self._undecided.discard(key)
        decider.last, before = result, decider.wanted
        pods, burst = result.desired_pods, result.excess_burst_capacity
        if before.pods == pods and before.excess_burst_capacity == burst:
            return False
        decider.wanted = Wanted(pods=pods, excess_burst_capacity=burst)
        return before.pods != pods or (before.excess_burst_capacity < 0) != (burst < 0)


def _on_grid(at: float) -> float:
    return math.ceil(at / _GRID_S) * _GRID_S


def _initial_burst(spec: DeciderSpec) -> int:
    """Before the first evaluation the initial scale stands in for the ready pods."""
    if spec.target_burst_capacity in (-1, 0):
        return int(spec.target_burst_capacity)
    return int(within_int32(spec.initial_scale * spec.total_value - spec.target_burst_capacity))
