"""Process cli: a copy of a user's service that holds one slice for itself, to be measured. Writes that copy alone.

Requests go to its pod through the API server, and GPU time is what the pod's own sidecar tells: so it works from
wherever the kubeconfig does.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any
from urllib.parse import quote

import msgspec

from hasgpu.cluster.custom import Gpu
from hasgpu.cluster.errors import ClusterError, NotFound, Refused
from hasgpu.cluster.metadata import condition, is_true
from hasgpu.cluster.objects import Pod
from hasgpu.cluster.paths import GPUS, KNATIVE_SERVICES, PODS, collection, named
from hasgpu.cluster.session import Session
from hasgpu.model import annotations as keys

from .command import Trouble, wait_for

_KEPT = (keys.GPU_MEMORY, keys.GPU_PRODUCT, keys.GPU_CONTAINERS, keys.GPU_PROCESSES)
_SIDECAR_PORT = 9402
_BUSY = "hasgpu_pod_gpu_busy_seconds_total"
_DEFAULT_PORT = 8080
_NOWHERE = "hasgpu-nowhere"
"""A path that no function is taken to serve: what an answer takes that needs no inference."""
_REQUEST_S = 60.0


class _Pods(msgspec.Struct):
    items: tuple[Pod, ...] = ()


class _Gpus(msgspec.Struct):
    items: tuple[Gpu, ...] = ()


class MeasuringCopy:
    """Made and Ready on entry, gone on exit."""

    def __init__(
        self, session: Session, service: Mapping[str, Any], sm_percent: int, quota_percent: int, timeout_s: float
    ) -> None:
        self._session, self._timeout_s = session, timeout_s
        self._namespace = str(service["metadata"]["namespace"])
        self._name = f"{service['metadata']['name']}-sm{sm_percent}-q{quota_percent}"[:50]
        self._body = copied(service, self._name, sm_percent, quota_percent)
        containers = service["spec"]["template"]["spec"]["containers"]
        ports = [port["containerPort"] for each in containers for port in each.get("ports") or ()]
        self._port = int(ports[0]) if ports else _DEFAULT_PORT
        self._pod = ""

    def __enter__(self) -> MeasuringCopy:
        path = collection(KNATIVE_SERVICES, self._namespace)
        self._session.request("POST", path, body=self._body)
        try:
            wait_for(self._not_ready, self._timeout_s, period_s=0.5)
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._remove()

    def ask_s(self, path: str) -> float:
        """Seconds until an answer of the 200 family came."""
        began_s = time.monotonic()
        self._session.request("GET", self._proxied(self._port, path), timeout_s=_REQUEST_S)
        return time.monotonic() - began_s

    def way_s(self) -> float | None:
        """Seconds until the function refused what it does not serve; None where it serves everything."""
        began_s = time.monotonic()
        try:
            self._session.request("GET", self._proxied(self._port, _NOWHERE), timeout_s=_REQUEST_S)
        except (NotFound, Refused):
            return time.monotonic() - began_s
        return None

    def busy_s(self) -> float:
        """GPU time used so far."""
        text = self._session.request("GET", self._proxied(_SIDECAR_PORT, "metrics")).decode()
        for line in text.splitlines():
            if line.startswith(f"{_BUSY} "):
                return float(line.split()[1])
        raise Trouble(f"pod {self._pod}: its sidecar does not tell {_BUSY}")

    def gpu_product(self) -> str:
        """Of the GPU that the pod was placed on."""
        pod = self._session.get(named(PODS, self._namespace, self._pod), Pod)
        uuid = pod.metadata.annotations.get(keys.SLICE_GPU, "")
        for gpu in self._session.get(collection(GPUS), _Gpus).items:
            if gpu.spec.uuid == uuid:
                return gpu.spec.product
        raise Trouble(f"pod {self._pod}: its GPU {uuid or '(none)'} is not known to the cluster")

    def _not_ready(self) -> str | None:
        found: dict[str, Any] = self._session.get(named(KNATIVE_SERVICES, self._namespace, self._name), dict)
        conditions = {each["type"]: each for each in (found.get("status") or {}).get("conditions") or ()}
        ready = conditions.get("Ready", {})
        if ready.get("status") == "False":
            raise Trouble(f"service {self._name}: {ready.get('message') or ready.get('reason')}")
        for pod in self._pods():
            if ready.get("status") == "True" and is_true(pod.status.conditions, "Ready") and not pod.terminating:
                self._pod = pod.metadata.name
                return None
        scheduled = [condition(pod.status.conditions, "PodScheduled") for pod in self._pods()]
        return next((each.message for each in scheduled if each and each.message), "the service is not ready")

    def _remove(self) -> None:
        """The slice must be free for the next copy: its pod need not drain for anybody."""
        try:
            self._session.request("DELETE", named(KNATIVE_SERVICES, self._namespace, self._name))
        except NotFound:
            return
        wait_for(self._remnant, self._timeout_s, period_s=0.5)

    def _remnant(self) -> str | None:
        left = self._pods()
        for pod in left:
            body = {"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 1}
            try:
                self._session.request("DELETE", named(PODS, self._namespace, pod.metadata.name), body=body)
            except ClusterError:
                continue  # gone, or to be asked again
        return f"pod {left[0].metadata.name} is still there" if left else None

    def _pods(self) -> tuple[Pod, ...]:
        query = {"labelSelector": f"{keys.SERVICE_LABEL}={self._name}"}
        return self._session.get(collection(PODS, self._namespace), _Pods, query=query).items

    def _proxied(self, port: int, path: str) -> str:
        where, _, query = path.partition("?")
        base = named(PODS, self._namespace, f"{self._pod}:{port}", "proxy")
        return f"{base}/{quote(where.lstrip('/'))}" + (f"?{query}" if query else "")


def copied(service: Mapping[str, Any], name: str, sm_percent: int, quota_percent: int) -> dict[str, Any]:
    """The service with a slice of its own, one pod, and nothing that scales it."""
    template = service["spec"]["template"]
    notes = template.get("metadata", {}).get("annotations") or {}
    annotations = {key: value for key, value in notes.items() if key in _KEPT}
    annotations |= {
        keys.SCALING: "fixed",
        keys.SM_PARTITION: f"{sm_percent}%",
        keys.TIME_QUOTA: f"{quota_percent}%",
        "autoscaling.knative.dev/min-scale": "1",
        "autoscaling.knative.dev/max-scale": "1",
    }
    return {
        "apiVersion": "serving.knative.dev/v1",
        "kind": "Service",
        "metadata": {
            "name": name,
            "namespace": service["metadata"]["namespace"],
            "labels": {"networking.knative.dev/visibility": "cluster-local"},
        },
        "spec": {"template": {"metadata": {"annotations": annotations}, "spec": dict(template["spec"])}},
    }
