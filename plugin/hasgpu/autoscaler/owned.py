"""Process autoscaler: the objects that a PodAutoscaler owns: its ServerlessService and its Metric. Writes only these.

Reference: knative/serving pkg/reconciler/autoscaling/reconciler.go and resources/{sks,metric}.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hasgpu.cluster.knative import Metric, MetricSpec, PodAutoscaler, ServerlessService
from hasgpu.cluster.metadata import Metadata
from hasgpu.cluster.patch import merge_patch
from hasgpu.cluster.paths import METRICS, SERVERLESS_SERVICES, collection, named
from hasgpu.cluster.session import Session, decode
from hasgpu.model.annotations import METRIC as METRIC_KEY

PA_API_VERSION = "autoscaling.internal.knative.dev/v1alpha1"
SKS_API_VERSION = "networking.internal.knative.dev/v1alpha1"


class NotOwnedError(Exception):
    """An object of the name we need belongs to somebody else."""

    def __init__(self, kind: str, pa: PodAutoscaler) -> None:
        super().__init__(f"PodAutoscaler {pa.metadata.name} does not own {kind} {pa.metadata.name}")
        self.kind = kind


def ensure_sks(
    session: Session, pa: PodAutoscaler, found: ServerlessService | None, mode: str, activators: int
) -> ServerlessService | None:
    """Create or correct the ServerlessService; None where it was just created and has no status yet."""
    target = pa.spec.scale_target_ref
    spec = {
        "mode": mode,
        "objectRef": {"apiVersion": target.api_version, "kind": target.kind, "name": target.name},
        "protocolType": pa.spec.protocol_type,
        "numActivators": activators,
    }
    if found is None:
        annotations = {key: text for key, text in pa.metadata.annotations.items() if key != METRIC_KEY}
        body = _object(pa, SKS_API_VERSION, "ServerlessService", annotations, spec)
        session.request("POST", collection(SERVERLESS_SERVICES, pa.metadata.namespace), body=body)
        return None
    _require_owned("ServerlessService", pa, found.metadata)
    same_target = (found.spec.object_ref, found.spec.protocol_type) == (target, pa.spec.protocol_type)
    if same_target and (found.spec.mode, found.spec.num_activators) == (mode, activators):
        return found
    path = named(SERVERLESS_SERVICES, pa.metadata.namespace, pa.metadata.name)
    return decode(merge_patch(session, path, _as_read(found.metadata, spec)), ServerlessService)


def ensure_metric(session: Session, pa: PodAutoscaler, found: Metric | None, spec: MetricSpec) -> None:
    """Create or correct the Metric."""
    wire = {
        "stableWindow": spec.stable_window_ns,
        "panicWindow": spec.panic_window_ns,
        "scrapeTarget": spec.scrape_target,
    }
    if found is None:
        body = _object(pa, PA_API_VERSION, "Metric", pa.metadata.annotations, wire)
        session.request("POST", collection(METRICS, pa.metadata.namespace), body=body)
        return
    _require_owned("Metric", pa, found.metadata)
    if found.spec != spec:
        path = named(METRICS, pa.metadata.namespace, pa.metadata.name)
        merge_patch(session, path, _as_read(found.metadata, wire))


def _as_read(found: Metadata, spec: Mapping[str, Any]) -> dict[str, Any]:
    """A patch of what we saw and nothing newer (else a Conflict): a leader before us may have been slow to write."""
    return {"metadata": {"resourceVersion": found.resource_version}, "spec": dict(spec)}


def _require_owned(kind: str, pa: PodAutoscaler, found: Metadata) -> None:
    controller = found.controller
    if controller is None or controller.uid != pa.metadata.uid:
        raise NotOwnedError(kind, pa)


def _object(
    pa: PodAutoscaler, api_version: str, kind: str, annotations: Mapping[str, str], spec: Mapping[str, Any]
) -> dict[str, Any]:
    owner = {
        "apiVersion": PA_API_VERSION,
        "kind": "PodAutoscaler",
        "name": pa.metadata.name,
        "uid": pa.metadata.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }
    metadata = {
        "name": pa.metadata.name,
        "namespace": pa.metadata.namespace,
        "labels": dict(pa.metadata.labels),
        "annotations": dict(annotations),
        "ownerReferences": [owner],
    }
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, "spec": dict(spec)}
