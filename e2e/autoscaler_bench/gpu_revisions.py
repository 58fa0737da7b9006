"""The GPU revisions of the bench: each a Deployment, a placed pod and a PodAutoscaler of class has; one model."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

from hasgpu.cluster.patch import merge_patch
from hasgpu.cluster.paths import LATENCY_PROFILES, PODS, collection, named
from hasgpu.cluster.session import Session

from .gpu_nodes import PRODUCT, GpuNodes, uuid_of
from .plane import SYSTEM, Plane
from .revisions import CONTAINER, labels_of, make_deployment, make_podautoscaler, pod_ip

PODS_OF_A_ROW, ROWS = 2, 5
SM_PERCENT = 100 // ROWS
PODS_OF_A_GPU = PODS_OF_A_ROW * ROWS
FIRST_QUOTA_PERCENT = 18
WORK_S = 0.004
"""Of the GPU for one request, on SM_PERCENT or more."""
REQUESTS_PER_S = 20.0
LATENCY_S = 0.02
PROFILE = "bench"


class GpuRevisions:
    """``count`` revisions with a ready pod each, ``per_namespace`` in a namespace, and an activator that runs."""

    def __init__(self, plane: Plane, nodes: GpuNodes, count: int, per_namespace: int) -> None:
        self.session, self.count, self.per_namespace, self._nodes = plane.session, count, per_namespace, nodes
        for index in range((count - 1) // per_namespace + 1):
            plane.make_namespace(f"bench-{index}")
            _make_profile(self.session, f"bench-{index}")
        _make_activator(self.session)
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(self._make, range(count)))

    def namespace(self, index: int) -> str:
        """Where a revision lives."""
        return f"bench-{index // self.per_namespace}"

    def _make(self, index: int) -> None:
        namespace, name = self.namespace(index), f"r-{index}"
        labels = labels_of(index)
        make_deployment(self.session, namespace, name, labels)
        self._make_pod(index, namespace, name, labels)
        annotations = {
            "autoscaling.knative.dev/class": "has.autoscaling.hasgpu.dev",
            "autoscaling.knative.dev/metric": "concurrency",
            "autoscaling.knative.dev/target-burst-capacity": "-1",
            **_wishes(),
        }
        make_podautoscaler(self.session, namespace, name, labels, annotations)

    def _make_pod(self, index: int, namespace: str, name: str, labels: dict[str, str]) -> None:
        gpu = index // PODS_OF_A_GPU
        given = {
            "gpu": uuid_of(gpu),
            "row": str(index % PODS_OF_A_GPU // PODS_OF_A_ROW),
            "sm-partition": str(SM_PERCENT),
            "time-quota": str(FIRST_QUOTA_PERCENT),
            "gpu-memory": str(1 << 30),
            "generation": "1",
            "traceparent": "",
        }
        notes = {**_wishes(), **{f"slice.hasgpu.dev/{key}": value for key, value in given.items()}}
        metadata = {"name": f"{name}-pod", "namespace": namespace, "labels": labels, "annotations": notes}
        spec = {"containers": [CONTAINER], "nodeName": self._nodes.node_of(gpu)}
        body = {"metadata": metadata, "spec": spec}
        self.session.request("POST", collection(PODS, namespace), body=body)
        path = named(PODS, namespace, f"{name}-pod", "status")
        merge_patch(self.session, path, {"status": _running(pod_ip(index))})


def _wishes() -> dict[str, str]:
    return {
        "hasgpu.dev/slo-latency": "200ms",
        "hasgpu.dev/profile": PROFILE,
        "hasgpu.dev/sm-partition": f"{SM_PERCENT}%",
    }


def _make_profile(session: Session, namespace: str) -> None:
    sm_percents = (5, 10, SM_PERCENT, 50, 100)
    cells = [
        {"batch": 1, "sm": sm, "quota": 100, "latencyMs": 1000 * WORK_S * max(1.0, SM_PERCENT / sm)}
        for sm in sm_percents
    ]
    measurement = {"gpuProduct": PRODUCT, "gate": "gpu-time", "window": "40ms", "cells": cells}
    body = {
        "apiVersion": "hasgpu.dev/v1alpha1",
        "kind": "LatencyProfile",
        "metadata": {"name": PROFILE, "namespace": namespace},
        "spec": {"model": PROFILE, "memory": "1Gi", "measurements": [measurement]},
    }
    session.request("POST", collection(LATENCY_PROFILES, namespace), body=body)


def _make_activator(session: Session) -> None:
    """Silence is believed only while as many connections stand as activators run."""
    metadata = {"name": "activator", "namespace": SYSTEM, "labels": {"app": "activator"}}
    body = {"metadata": metadata, "spec": {"containers": [CONTAINER], "nodeName": "gpu-node-0"}}
    session.request("POST", collection(PODS, SYSTEM), body=body)
    merge_patch(session, named(PODS, SYSTEM, "activator", "status"), {"status": _running("127.0.0.1")})


def _running(ip: str) -> dict[str, Any]:
    begun = datetime.now(UTC) - timedelta(hours=1)
    scheduled, ready = (f"{at:%Y-%m-%dT%H:%M:%SZ}" for at in (begun, begun + timedelta(seconds=5)))
    conditions = [
        {"type": "PodScheduled", "status": "True", "lastTransitionTime": scheduled},
        {"type": "Ready", "status": "True", "lastTransitionTime": ready},
    ]
    return {
        "phase": "Running",
        "podIP": ip,
        "podIPs": [{"ip": ip}],
        "startTime": scheduled,
        "conditions": conditions,
    }
