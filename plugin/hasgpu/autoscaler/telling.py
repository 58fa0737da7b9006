"""Process autoscaler: what the GPU class tells the world: log lines, Events, CloudEvents, spans, metrics.

Everything is rendered from the same typed reasons. Nothing here decides or fails a decision.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Literal

from hasgpu.cluster.events import EventRecorder, Regarding
from hasgpu.cluster.knative import PodAutoscaler
from hasgpu.cluster.objects import Pod
from hasgpu.model import annotations as keys
from hasgpu.model.decision import Decision, QuotaChange, Reason
from hasgpu.model.gpu import GpuSlice
from hasgpu.model.keys import PodKey, RevisionKey
from hasgpu.telemetry.cloudevents import PLACEMENT_FAILED, QUOTA_CHANGED, SCALED, CloudEvents
from hasgpu.telemetry.instruments import CONFIGURATION, NAMESPACE, REVISION, SERVICE
from hasgpu.telemetry.logs import fields
from hasgpu.telemetry.metrics import Metrics

log = logging.getLogger("hasgpu.decisions")


class Telling:
    """Used by the one thread that allocates; every voice queues."""

    def __init__(self, events: EventRecorder, cloudevents: CloudEvents, metrics: Metrics) -> None:
        self._events, self._cloudevents, self._metrics = events, cloudevents, metrics

    def decided(self, decision: Decision, pa: PodAutoscaler, scale: tuple[int, int], trace_id: str) -> None:
        """One JSON line for a decision that changes something."""
        log.info(
            "%s: %s",
            decision.key,
            "; ".join(each.text for each in decision.reasons),
            extra=fields(
                namespace=decision.key.namespace,
                revision=decision.key.name,
                trace_id=trace_id,
                demand_requests_per_s=decision.demand_requests_per_s,
                capacity_requests_per_s=decision.capacity_requests_per_s,
                quota_percent=decision.quota_percent,
                pods_from=scale[0],
                pods_to=scale[1],
                quota_changes={change.pod.name: _from_to(change) for change in decision.quota_changes},
                reasons=[{"fact": each.fact, **dict(each.values)} for each in decision.reasons],
            ),
        )
        self._metrics.add("hasgpu.decisions", 1, series(pa))

    def quota_changed(
        self, decision: Decision, written: Sequence[QuotaChange], pa: PodAutoscaler, now: float, traceparent: str
    ) -> None:
        """The vertical change of a revision."""
        if not written:
            return
        changes = ", ".join(f"{change.pod.name} {_from_to(change)}" for change in written)
        # Facts without their values, which differ each time: so that like changes are one Event whose count grows.
        why = ", ".join(dict.fromkeys(each.fact for each in decision.reasons))
        self._event(pa, "Normal", "TimeQuotaChanged", f"time quota {decision.quota_percent} %: {changes} ({why})")
        self._metrics.add("hasgpu.quota.writes", len(written), series(pa))
        self._cloudevents.emit(
            QUOTA_CHANGED,
            namespace=decision.key.namespace,
            revision=decision.key.name,
            at=now,
            traceparent=traceparent,
            data={
                "timeQuotaPercent": decision.quota_percent,
                "pods": [
                    {
                        "name": change.pod.name,
                        "from": change.old.time_quota.percent,
                        "to": change.new.time_quota.percent,
                        "gpu": change.new.gpu_uuid,
                    }
                    for change in written
                ],
                "reasons": _plain(decision.reasons),
            },
        )

    def scaled(self, decision: Decision, pa: PodAutoscaler, scale: tuple[int, int], now: float, trace: str) -> None:
        """The horizontal change of a revision."""
        why = "; ".join(each.text for each in decision.reasons)
        self._event(pa, "Normal", "Scaled", f"pods {scale[0]} -> {scale[1]}: {why}")
        self._cloudevents.emit(
            SCALED,
            namespace=decision.key.namespace,
            revision=decision.key.name,
            at=now,
            traceparent=trace,
            data={"from": scale[0], "to": scale[1], "reasons": _plain(decision.reasons)},
        )

    def placed(self, pod: Pod, entry: GpuSlice, now: float) -> None:
        """A pod has its slice."""
        said = (
            f"GPU {entry.gpu_uuid}, row {entry.row}: {entry.sm_partition.percent} % of the SMs,"
            f" {entry.time_quota.percent} % of the time"
        )
        self._events.event(Regarding.of("v1", "Pod", pod.metadata), "Normal", "SlicePlaced", said)
        created = pod.metadata.creation_timestamp
        if created is not None:
            self._metrics.record("hasgpu.placement.duration", max(0.0, now - created.timestamp()))

    def waits(
        self, pod: Pod, revision: RevisionKey, pa: PodAutoscaler | None, reasons: Sequence[Reason], now: float
    ) -> None:
        """No room for a pod: told on the pod and on its revision."""
        said = "no room on any GPU: " + "; ".join(each.text for each in reasons)
        self._events.event(Regarding.of("v1", "Pod", pod.metadata), "Warning", "NoRoom", said)
        if pa is not None:
            self._event(pa, "Warning", "NoRoom", f"{pod.metadata.name} waits: {said}")
        log.info("%s/%s: %s", pod.metadata.namespace, pod.metadata.name, said)
        self._cloudevents.emit(
            PLACEMENT_FAILED,
            namespace=revision.namespace,
            revision=revision.name,
            at=now,
            traceparent=pod.metadata.annotations.get(keys.SLICE_TRACEPARENT, ""),
            data={"pod": pod.metadata.name, "reasons": _plain(reasons)},
        )

    def evicted(self, pod: PodKey, pa: PodAutoscaler | None, reasons: Sequence[Reason]) -> None:
        """An old pod leaves for its successor."""
        said = f"{pod.name} is deleted: " + "; ".join(each.text for each in reasons)
        log.info("%s: %s", pod, said)
        if pa is not None:
            self._event(pa, "Normal", "Replaced", said)

    def warn(self, pa: PodAutoscaler, reason: str, message: str) -> None:
        """Something the user should know of the revision."""
        self._event(pa, "Warning", reason, message)

    def gauges(
        self, decision: Decision, pa: PodAutoscaler, shares: Sequence[tuple[int, int]], waiting_pods: int
    ) -> None:
        """The revision's figures now; ``shares`` are (SM percent, quota percent) of its pods."""
        of = series(pa)
        self._metrics.set("hasgpu.revision.time_quota", (decision.quota_percent or 0) / 100.0, of)
        self._metrics.set("hasgpu.revision.sm_partition", max((sm for sm, _ in shares), default=0) / 100.0, of)
        self._metrics.set("hasgpu.revision.gpu_share", sum(sm * quota for sm, quota in shares) / 1e4, of)
        self._metrics.set("hasgpu.revision.demand", decision.demand_requests_per_s or 0.0, of)
        self._metrics.set("hasgpu.revision.capacity", decision.capacity_requests_per_s or 0.0, of)
        self._metrics.set("hasgpu.revision.waiting_pods", waiting_pods, of)

    def forget(self, key: RevisionKey) -> None:
        """The revision is gone: its figures are nobody's."""
        self._metrics.forget({NAMESPACE: key.namespace, REVISION: key.name})

    def forget_all(self) -> None:
        """Another replica decides, and shows the figures."""
        self._metrics.forget({})

    def passed(self, duration_s: float, lags_s: Sequence[float]) -> None:
        """One pass of decisions is done; ``lags_s`` are ages of the writes that agents acknowledged before it."""
        self._metrics.record("hasgpu.decision.duration", duration_s)
        for lag_s in lags_s:
            self._metrics.record("hasgpu.actuation.lag", max(0.0, lag_s))

    def _event(self, pa: PodAutoscaler, type: Literal["Normal", "Warning"], reason: str, message: str) -> None:
        owner = pa.metadata.controller
        about = Regarding(
            api_version=owner.api_version if owner else "autoscaling.internal.knative.dev/v1alpha1",
            kind=owner.kind if owner else "PodAutoscaler",
            namespace=pa.metadata.namespace,
            name=owner.name if owner else pa.metadata.name,
            uid=owner.uid if owner else pa.metadata.uid,
        )
        self._events.event(about, type, reason, message)


def series(pa: PodAutoscaler) -> Mapping[str, str]:
    """The attributes of a revision's metrics."""
    labels = pa.metadata.labels
    return {
        NAMESPACE: pa.metadata.namespace,
        SERVICE: labels.get(keys.SERVICE_LABEL, ""),
        CONFIGURATION: labels.get(keys.CONFIGURATION_LABEL, ""),
        REVISION: pa.metadata.name,
    }


def _from_to(change: QuotaChange) -> str:
    return f"{change.old.time_quota.percent} -> {change.new.time_quota.percent} %"


def _plain(reasons: Sequence[Reason]) -> list[dict[str, object]]:
    return [{"fact": each.fact, **dict(each.values)} for each in reasons]
