"""Process autoscaler: gauges that /metrics shows: Knative's own of each revision, and the process's. Reads only."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping

from hasgpu.cluster.knative import PodAutoscaler
from hasgpu.model.annotations import CONFIGURATION_LABEL, SERVICE_LABEL
from hasgpu.model.keys import RevisionKey
from hasgpu.settings.store import ConfigStore
from hasgpu.stats.forwarder import Forwarder
from hasgpu.stats.server import StatServer
from hasgpu.telemetry.cloudevents import CloudEvents
from hasgpu.telemetry.instruments import CONFIGURATION, NAMESPACE, REVISION, SERVICE

from .kpa_class import KpaClass
from .leadership import Leadership
from .pod_index import PodIndex
from .revision_spec import scaling_class
from .workers import Workers

Gauge = tuple[str, Mapping[str, str], float]


def attributes(key: RevisionKey, labels: Mapping[str, str]) -> dict[str, str]:
    """What every series of a revision carries."""
    return {
        NAMESPACE: key.namespace,
        SERVICE: labels.get(SERVICE_LABEL, ""),
        CONFIGURATION: labels.get(CONFIGURATION_LABEL, ""),
        REVISION: key.name,
    }


def decision_gauges(kpa: KpaClass) -> Iterable[Gauge]:
    """The last evaluation of each revision of class kpa."""
    for key, labels, spec, result in kpa.results():
        of = attributes(key, labels)
        kind = spec.scaling_metric
        yield "kn.revision.pods.desired", of, result.desired_pods
        yield "kn.revision.capacity.excess", of, result.excess_burst_capacity
        yield "kn.revision.panic.mode", of, int(result.panicking)
        yield f"kn.revision.{kind}.stable", of, result.stable
        yield f"kn.revision.{kind}.panic", of, result.panic
        yield f"kn.revision.{kind}.target", of, spec.target_value


def pod_gauges(
    podautoscalers: Iterable[PodAutoscaler], pods: PodIndex, ours: Callable[[RevisionKey, str], bool]
) -> Iterable[Gauge]:
    """Pods asked for and there, of each revision that this replica acts for: two replicas would count them twice.

    A wish not known yet has no series.
    """
    for pa in podautoscalers:
        key = RevisionKey(pa.metadata.namespace, pa.metadata.name)
        if not ours(key, scaling_class(pa)):
            continue
        of, counts = attributes(key, pa.metadata.labels), pods.counts(key)
        if pa.status.desired_scale is not None and pa.status.desired_scale >= 0:
            yield "kn.revision.pods.requested", of, pa.status.desired_scale
        yield "kn.revision.pods.count", of, counts.ready
        yield "kn.revision.pods.not_ready.count", of, counts.not_ready
        yield "kn.revision.pods.pending.count", of, counts.pending
        yield "kn.revision.pods.terminating.count", of, counts.terminating


def process_gauges(settings: ConfigStore, cloudevents: CloudEvents) -> Iterable[Gauge]:
    """What is wrong with this process's surroundings."""
    wrong = {error.config_map for error in settings.errors()}
    for name in settings.names:
        yield "hasgpu.settings.error", {"hasgpu.config_map": name}, float(name in wrong)
    yield "hasgpu.cloudevents.dropped", {}, cloudevents.dropped


def standing_gauges(leadership: Leadership) -> Iterable[Gauge]:
    """Which Leases this replica holds; all zero on all replicas: nobody scales."""
    for lease in leadership.leases:
        yield "hasgpu.lease.held", {"hasgpu.lease": lease}, float(leadership.holds(lease))


def work_gauges(workers: Iterable[Workers], kpa: KpaClass) -> Iterable[Gauge]:
    """Whether the work gets done."""
    for each in workers:
        of = {"hasgpu.queue": each.name}
        yield "hasgpu.queue.depth", of, each.waiting
        yield "hasgpu.reconcile.failures", of, each.failures
    yield "hasgpu.kpa.tick.late", {}, kpa.late_s()


def stat_gauges(forwarder: Forwarder, server: StatServer) -> Iterable[Gauge]:
    """What activators told and nobody took."""
    yield "hasgpu.stats.connections", {}, server.connections
    yield "hasgpu.stats.frames.refused", {}, server.bad_frames
    yield "hasgpu.stats.frames.dropped", {}, forwarder.dropped


def watch_gauges(ages_s: Mapping[str, float]) -> Iterable[Gauge]:
    """How old what this replica knows may be; a kind never listed has no series."""
    for kind, age_s in ages_s.items():
        if math.isfinite(age_s):
            yield "hasgpu.watch.age", {"hasgpu.watch": kind}, age_s
