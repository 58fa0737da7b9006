"""Process autoscaler: carries one decision out and tells it. Quotas here; replicas through the reconciler.

Nothing is written or told for a decision that changes nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from hasgpu.cluster.errors import ClusterError
from hasgpu.cluster.knative import PodAutoscaler
from hasgpu.model import annotations as keys
from hasgpu.model.decision import Decision, QuotaChange
from hasgpu.telemetry.tracing import Attribute, OpenSpan

from .gpu_world import GpuWorld, pod_key
from .quota_display import QuotaDisplay
from .scaled_revision import ScaledRevision
from .slice_writer import SliceWriter, marked_unneeded
from .surroundings import Surroundings
from .telling import Telling

log = logging.getLogger(__name__)


class DecisionWriter:
    """Used by the one thread that allocates."""

    def __init__(self, around: Surroundings, writer: SliceWriter, telling: Telling) -> None:
        self._around, self._slices, self._telling = around, writer, telling
        self._display = QuotaDisplay(around.session, around.still_leading)

    def carry_out(
        self, decision: Decision, pa: PodAutoscaler, record: ScaledRevision, world: GpuWorld, now: float
    ) -> int | None:
        """Writes what changes; the pods that may be asked for now, None where nothing is known."""
        pods = self._allowed_pods(decision, record, world, now)
        before = record.wanted
        rescaled = pods is not None and pods != before
        if not decision.quota_changes and not decision.plans and not rescaled:
            return pods
        links = self._contexts(decision, world)
        with self._around.tracing.span("decide", links=links, attributes=_attributes(decision)) as span:
            record.decided_in = span.traceparent
            self._telling.decided(decision, pa, (before, pods if pods is not None else before), span.trace_id)
            self._write_quotas(decision, pa, record, span, now)
        return pods

    def scaled(self, pa: PodAutoscaler, record: ScaledRevision, before: int, after: int, now: float) -> None:
        """The reconciler has set the replicas that were decided."""
        if record.decision is None:
            return
        attributes: dict[str, Attribute] = {
            "hasgpu.action": "ScalePatch",
            "k8s.namespace.name": pa.metadata.namespace,
            "kn.revision.name": pa.metadata.name,
            "hasgpu.pods.from": before,
            "hasgpu.pods.to": after,
        }
        with self._around.tracing.span("actuate", parent=record.decided_in or None, attributes=attributes) as span:
            self._telling.scaled(record.decision, pa, (before, after), now, span.traceparent)

    def _write_quotas(
        self, decision: Decision, pa: PodAutoscaler, record: ScaledRevision, span: OpenSpan, now: float
    ) -> None:
        written: list[QuotaChange] = []
        for change in sorted(decision.quota_changes, key=lambda each: not each.grows):
            attributes: dict[str, Attribute] = {
                "hasgpu.action": "VerticalPatch",
                "k8s.namespace.name": change.pod.namespace,
                "k8s.pod.name": change.pod.name,
                "hasgpu.time_quota_percent.from": change.old.time_quota.percent,
                "hasgpu.time_quota_percent.to": change.new.time_quota.percent,
            }
            try:
                with self._around.tracing.span("actuate", parent=span.traceparent, attributes=attributes) as inner:
                    if self._slices.write_quota(change, inner.traceparent, now):
                        written.append(change)
                    else:
                        inner.fail("not written")
            except ClusterError as error:
                log.warning("%s: quota not written: %s", change.pod, error)
        if written:
            record.written_s = now
            self._telling.quota_changed(decision, written, pa, now, span.traceparent)
            self._display.show(decision.key, decision.quota_percent or 0)

    def _allowed_pods(self, decision: Decision, record: ScaledRevision, world: GpuWorld, now: float) -> int | None:
        """Fewer pods only once our own watch shows which of them should leave first."""
        desired = decision.desired_pods
        if desired is None:
            return None if record.wanted < 0 else record.wanted
        if desired > 0:
            self._mark(decision, world, now)
            if not self._marks_seen(decision) and record.wanted > desired:
                return record.wanted
        return desired

    def _mark(self, decision: Decision, world: GpuWorld, now: float) -> None:
        victims = set(decision.victims)
        for pod in world.pods_of.get(decision.key, ()):
            key = pod_key(pod)
            if not pod.terminating and (key in victims) != marked_unneeded(pod):
                try:
                    self._slices.mark_unneeded(pod, key in victims, now)
                except ClusterError as error:
                    log.warning("%s: deletion cost not written: %s", key, error)

    def _marks_seen(self, decision: Decision) -> bool:
        seen = (self._around.pods.get(victim.namespace, victim.name) for victim in decision.victims)
        return all(pod is None or marked_unneeded(pod) for pod in seen)

    def _contexts(self, decision: Decision, world: GpuWorld) -> Sequence[str]:
        """The contexts in which the pods concerned were placed or changed last."""
        concerned = [world.pods.get(change.pod) for change in decision.quota_changes]
        found = [pod.metadata.annotations.get(keys.SLICE_TRACEPARENT, "") for pod in concerned if pod is not None]
        return [context for context in dict.fromkeys(found) if context]


def _attributes(decision: Decision) -> dict[str, Attribute]:
    return {
        "k8s.namespace.name": decision.key.namespace,
        "kn.revision.name": decision.key.name,
        "hasgpu.demand_requests_per_s": decision.demand_requests_per_s or 0.0,
        "hasgpu.capacity_requests_per_s": decision.capacity_requests_per_s or 0.0,
        "hasgpu.time_quota_percent": decision.quota_percent or 0,
        "hasgpu.pods.desired": decision.desired_pods if decision.desired_pods is not None else -1,
        "hasgpu.reasons": [each.text for each in decision.reasons],
    }
