"""Process autoscaler: what a scaling class is to the process. Protocols and nouns only; no I/O.

The reconciler (bounds, the way to zero, scale patch, SKS, PodAutoscaler status) is the same for every class; a class
says how many pods it wants. ``process`` builds one object per class and calls it as documented here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from hasgpu.cluster.knative import PodAutoscaler
from hasgpu.model.decider import DeciderSpec
from hasgpu.model.keys import RevisionKey
from hasgpu.model.load import StatMessage


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a class wants for a revision now, before min-scale, max-scale and scale-to-zero are applied."""

    pods: int
    """-1: unknown; then nothing is scaled."""
    excess_burst_capacity: int
    """Zero or more lets the activator leave the request path; class has always says -1."""


UNKNOWN = Wanted(pods=-1, excess_burst_capacity=-1)


class ScalingClass(Protocol):
    """One value of the annotation autoscaling.knative.dev/class."""

    @property
    def activation_times_out(self) -> bool:
        """False where a revision may wait for room as long as it takes."""

    @property
    def scrapes(self) -> bool:
        """True where a Metric object asks for the queue-proxies to be scraped."""

    def wanted(self, pa: PodAutoscaler, spec: DeciderSpec, now: float) -> Wanted:
        """The present wish; takes the revision in at the first call. Called by reconcile workers: must not block."""

    def forget(self, key: RevisionKey) -> None:
        """The PodAutoscaler is gone, or its class changed, or another replica leads it. Must not block."""


class GpuClass(ScalingClass, Protocol):
    """Class has.autoscaling.hasgpu.dev: runs on the leader of Lease hasgpu-allocator alone.

    ``lead``, ``on_stats`` and ``tick`` are called by one thread of its own, which may block on the API server;
    ``tick`` as soon as it asked for, and after ``wake`` (a pod, GPU or profile changed). A changed wish is announced
    with the ``enqueue`` callback given to the constructor.
    """

    def lead(self, leading: bool, now: float) -> None:
        """Leadership was won or lost. After a loss nothing may be written."""

    def on_stats(self, messages: Sequence[StatMessage], now: float) -> None:
        """Load of revisions of this class, from all activators, on arrival."""

    def tick(self, now: float) -> float:
        """Look at the world and act, for a moment; seconds until it wants to act again, 0 where there is more to do."""

    def scaled(self, key: RevisionKey, before: int, after: int) -> None:
        """A Deployment of this class was asked for other replicas. Called by reconcile workers: must not block."""

    def metrics(self) -> Sequence[tuple[str, Mapping[str, str], float]]:
        """Gauges for /metrics: name, attributes, value."""
