"""Adapter telemetry: every metric of the autoscaler and the webhook, once.

docs/metrics.md is held to this table by a test. Knative's names and units are kept to the letter so that dashboards
made for it go on working. The node agent's metrics are Prometheus text of its own (nodeagent/exposition).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

NAMESPACE = "k8s.namespace.name"
SERVICE = "kn.service.name"
CONFIGURATION = "kn.configuration.name"
REVISION = "kn.revision.name"
OF_REVISION = (NAMESPACE, SERVICE, CONFIGURATION, REVISION)

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Instrument:
    """One metric; ``unit`` as in OpenTelemetry."""

    name: str
    kind: Literal["gauge", "counter", "histogram"]
    unit: str = ""
    attributes: tuple[str, ...] = OF_REVISION
    description: str
    process: Literal["autoscaler", "webhook"] = "autoscaler"


def _gauge(name: str, unit: str, description: str, attributes: tuple[str, ...] = OF_REVISION) -> Instrument:
    return Instrument(name=name, kind="gauge", unit=unit, attributes=attributes, description=description)


def _load(metric: str, unit: str) -> tuple[Instrument, ...]:
    return (
        _gauge(f"kn.revision.{metric}.stable", unit, "Average per observed pod over the stable window"),
        _gauge(f"kn.revision.{metric}.panic", unit, "Average per observed pod over the panic window"),
        _gauge(f"kn.revision.{metric}.target", unit, "What each pod should get"),
    )


KNATIVE = (
    _gauge("kn.revision.pods.desired", "{item}", "Pods the autoscaler wants"),
    _gauge("kn.revision.pods.requested", "{pod}", "Pods asked of Kubernetes"),
    _gauge("kn.revision.pods.count", "{pod}", "Pods there are"),
    _gauge("kn.revision.pods.not_ready.count", "{pod}", "Pods that are not ready"),
    _gauge("kn.revision.pods.pending.count", "{pod}", "Pods that are pending"),
    _gauge("kn.revision.pods.terminating.count", "{pod}", "Pods that are terminating"),
    _gauge("kn.revision.capacity.excess", "{concurrency}", "Excess burst capacity over the stable window"),
    _gauge("kn.revision.panic.mode", "", "1 in panic mode, else 0"),
    *_load("concurrency", "{concurrency}"),
    *_load("rps", "{request}/s"),
    Instrument(
        name="kn.autoscaler.scrape.duration", kind="histogram", unit="s", description="Duration of scraping a revision"
    ),
)

HASGPU = (
    _gauge("hasgpu.revision.time_quota", "1", "Vertical decision: the share of time its pods have, 0..1"),
    _gauge("hasgpu.revision.sm_partition", "1", "Share of SMs of its widest pod, 0..1"),
    _gauge("hasgpu.revision.gpu_share", "{gpu}", "GPUs allocated: sum of SM share x time quota over its pods"),
    _gauge("hasgpu.revision.demand", "{request}/s", "Demand planned for"),
    _gauge("hasgpu.revision.capacity", "{request}/s", "Capacity predicted for what it has"),
    _gauge("hasgpu.revision.waiting_pods", "{pod}", "Pods without room on any GPU"),
    Instrument(
        name="hasgpu.decisions", kind="counter", unit="{decision}", description="Decisions that changed something"
    ),
    Instrument(name="hasgpu.quota.writes", kind="counter", unit="{write}", description="Quota patches of running pods"),
    Instrument(
        name="hasgpu.decision.duration",
        kind="histogram",
        unit="s",
        attributes=(),
        description="Time to decide one tick",
    ),
    Instrument(
        name="hasgpu.actuation.lag",
        kind="histogram",
        unit="s",
        attributes=(),
        description="From a quota patch to its agent's acknowledgement",
    ),
    Instrument(
        name="hasgpu.placement.duration",
        kind="histogram",
        unit="s",
        attributes=(),
        description="From a pod's creation to its placement",
    ),
    _gauge("hasgpu.allocator.silence.trusted", "", "0 while an activator is not connected: nothing is scaled down", ()),
    _gauge("hasgpu.lease.held", "", "1 on the replica that holds the Lease", ("hasgpu.lease",)),
    _gauge(
        "hasgpu.watch.age", "s", "Since anything was heard of a kind; a minute at most in health", ("hasgpu.watch",)
    ),
    _gauge("hasgpu.queue.depth", "{item}", "Objects waiting to be reconciled", ("hasgpu.queue",)),
    _gauge("hasgpu.reconcile.failures", "{item}", "Reconciles that failed and are tried again", ("hasgpu.queue",)),
    _gauge("hasgpu.kpa.tick.late", "s", "How long the next evaluation has been due", ()),
    _gauge("hasgpu.stats.connections", "{connection}", "Activators connected to this replica", ()),
    _gauge("hasgpu.stats.frames.refused", "{frame}", "Frames that are no stats", ()),
    _gauge("hasgpu.stats.frames.dropped", "{frame}", "Frames that no leader took in time", ()),
    _gauge("hasgpu.settings.error", "", "1 while a ConfigMap can't be used", ("hasgpu.config_map",)),
    Instrument(
        name="hasgpu.cloudevents.dropped",
        kind="gauge",
        unit="{event}",
        attributes=(),
        description="CloudEvents not sent",
    ),
)

WEBHOOK = (
    Instrument(
        name="hasgpu.admission.duration",
        kind="histogram",
        unit="s",
        attributes=("hasgpu.admission.path", "hasgpu.admission.allowed"),
        description="Time to answer an admission review",
        process="webhook",
    ),
    Instrument(
        name="hasgpu.autoscaler.foreign",
        kind="gauge",
        attributes=(),
        description="1 while Deployment autoscaler or Lease hasgpu-allocator is not ours",
        process="webhook",
    ),
)

INSTRUMENTS = {each.name: each for each in (*KNATIVE, *HASGPU, *WEBHOOK)}


def prometheus_name(instrument: Instrument) -> str:
    """The name a scrape shows, as OpenTelemetry's Prometheus exporters make it."""
    name = instrument.name.replace(".", "_")
    suffix = {"s": "_seconds", "{request}/s": "_per_second"}
    name += suffix.get(instrument.unit, "")
    return f"{name}_total" if instrument.kind == "counter" else name
