"""The revisions of the bench: Deployment, Pod and PodAutoscaler each, and the SKS controller that nobody runs here."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

from hasgpu.cluster.errors import ClusterError
from hasgpu.cluster.knative import PodAutoscaler, ServerlessService
from hasgpu.cluster.metadata import is_true
from hasgpu.cluster.objects import Deployment
from hasgpu.cluster.patch import merge_patch
from hasgpu.cluster.paths import DEPLOYMENTS, POD_AUTOSCALERS, PODS, SERVERLESS_SERVICES, collection, named
from hasgpu.cluster.reflector import EventKind, Reflector
from hasgpu.cluster.session import Session

from .plane import Plane

_UNLIMITED = {"autoscaling.knative.dev/target-burst-capacity": "-1"}
TARGET = "10"
CONTAINER = {"name": "user-container", "image": "none"}


class Revisions:
    """``count`` revisions, ``per_namespace`` in a namespace; pushed ones are never scraped."""

    def __init__(self, plane: Plane, count: int, per_namespace: int, *, pushed: bool) -> None:
        self.session, self.count, self.per_namespace, self.pushed = plane.session, count, per_namespace, pushed
        self.quiet = set(range(count))
        """Whose load never changed: nothing scales them but the next sample."""
        for index in range((count - 1) // per_namespace + 1):
            plane.make_namespace(f"bench-{index}")
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(self._make, range(count)))

    def namespace(self, index: int) -> str:
        """Where a revision lives."""
        return f"bench-{index // self.per_namespace}"

    def unsettle(self, count: int) -> None:
        """Makes the status of so many PodAutoscalers untrue: an autoscaler that starts has to write it."""

        def change(index: int) -> None:
            path = named(POD_AUTOSCALERS, self.namespace(index), f"r-{index}", "status")
            merge_patch(self.session, path, {"status": {"actualScale": 0}})

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(change, range(count)))

    def _make(self, index: int) -> None:
        namespace, name = self.namespace(index), f"r-{index}"
        labels = labels_of(index)
        make_deployment(self.session, namespace, name, labels)
        pod = {
            "metadata": {"name": f"{name}-pod", "namespace": namespace, "labels": labels},
            "spec": {"containers": [CONTAINER]},
        }
        self.session.request("POST", collection(PODS, namespace), body=pod)
        merge_patch(self.session, named(PODS, namespace, f"{name}-pod", "status"), {"status": _running(index)})
        annotations = {
            "autoscaling.knative.dev/class": "kpa.autoscaling.knative.dev",
            "autoscaling.knative.dev/metric": "concurrency",
            "autoscaling.knative.dev/target": TARGET,
            **(_UNLIMITED if self.pushed else {}),
        }
        make_podautoscaler(self.session, namespace, name, labels, annotations)


def labels_of(index: int) -> dict[str, str]:
    """As Knative's controller labels what belongs to a revision."""
    name = f"r-{index}"
    return {
        "serving.knative.dev/revision": name,
        "serving.knative.dev/revisionUID": f"uid-{index}",
        "serving.knative.dev/configuration": name,
        "serving.knative.dev/service": name,
        "app": name,
    }


def make_deployment(session: Session, namespace: str, name: str, labels: dict[str, str]) -> None:
    """A revision's, of one replica."""
    template = {"metadata": {"labels": labels}, "spec": {"containers": [CONTAINER]}}
    spec = {"replicas": 1, "selector": {"matchLabels": {"app": name}}, "template": template}
    metadata = {"name": f"{name}-deployment", "namespace": namespace, "labels": labels}
    session.request("POST", collection(DEPLOYMENTS, namespace), body={"metadata": metadata, "spec": spec})


def make_podautoscaler(
    session: Session, namespace: str, name: str, labels: dict[str, str], annotations: dict[str, str]
) -> None:
    """A revision's, as Knative's controller makes it."""
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": f"{name}-deployment"}
    body = {
        "apiVersion": "autoscaling.internal.knative.dev/v1alpha1",
        "kind": "PodAutoscaler",
        "metadata": {"name": name, "namespace": namespace, "labels": labels, "annotations": annotations},
        "spec": {"reachability": "Reachable", "protocolType": "http1", "scaleTargetRef": target},
    }
    session.request("POST", collection(POD_AUTOSCALERS, namespace), body=body)


def _running(index: int) -> dict[str, Any]:
    begun = (datetime.now(UTC) - timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "phase": "Running",
        "podIP": pod_ip(index),
        "podIPs": [{"ip": pod_ip(index)}],
        "startTime": begun,
        "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": begun}],
    }


def pod_ip(index: int) -> str:
    """All of 127/8 is this machine; the fake queue-proxies know by the address which pod was asked."""
    return f"127.10.{index // 250}.{index % 250 + 1}"


class SksController:
    """Says of every ServerlessService that its Services are there, as Knative's controller would."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._pool = ThreadPoolExecutor(8)
        self._watch = Reflector(session, collection(SERVERLESS_SERVICES), ServerlessService, on_event=self._see).start()

    def stop(self) -> None:
        """Ends."""
        self._watch.stop()
        self._pool.shutdown(cancel_futures=True)

    def _see(self, kind: EventKind, old: ServerlessService | None, new: ServerlessService | None) -> None:
        if new is not None and new.status.observed_generation != new.metadata.generation:
            self._pool.submit(self._settle, new)

    def _settle(self, sks: ServerlessService) -> None:
        name, now = sks.metadata.name, datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        conditions = [
            {"type": kind, "status": "True", "lastTransitionTime": now}
            for kind in ("ActivatorEndpointsPopulated", "EndpointsPopulated", "Ready")
        ]
        status = {
            "serviceName": name,
            "privateServiceName": f"{name}-private",
            "observedGeneration": sks.metadata.generation,
            "conditions": conditions,
        }
        try:
            merge_patch(
                self._session, named(SERVERLESS_SERVICES, sks.metadata.namespace, name, "status"), {"status": status}
            )
        except ClusterError as error:
            print(f"sks {name}: {error}", flush=True)


class Watched:
    """What the autoscaler has written: seen by watches of our own."""

    def __init__(self, session: Session) -> None:
        self._changed = threading.Condition()
        self.scaled_at: dict[tuple[str, str], float] = {}
        self.settled: set[tuple[str, str]] = set()
        self.decided: set[tuple[str, str]] = set()
        self._deployments = Reflector(session, collection(DEPLOYMENTS), Deployment, on_event=self._deployment).start()
        self._podautoscalers = Reflector(
            session, collection(POD_AUTOSCALERS), PodAutoscaler, on_event=self._podautoscaler
        ).start()
        self._deployments.wait_synced(60)
        self._podautoscalers.wait_synced(60)

    def stop(self) -> None:
        """Ends."""
        self._deployments.stop()
        self._podautoscalers.stop()

    def until(self, count: int, timeout_s: float, alive: Callable[[], bool]) -> float:
        """Waits until so many PodAutoscalers are Ready with a known scale; seconds waited, infinite where in vain."""
        begun = time.monotonic()
        with self._changed:
            while time.monotonic() - begun < timeout_s:
                if self._changed.wait_for(lambda: len(self.settled) >= count, 1.0):
                    return time.monotonic() - begun
                if not alive():
                    raise RuntimeError("the autoscaler ended")
        return float("inf")

    def _deployment(self, kind: EventKind, old: Any, new: Any) -> None:
        if old is not None and new is not None and old.spec.replicas != new.spec.replicas:
            with self._changed:
                self.scaled_at[new.metadata.namespace, new.metadata.name] = time.time()
                self._changed.notify_all()

    def until_scaled(self, namespace: str, name: str, timeout_s: float) -> float:
        """When the replicas of a Deployment were seen to change, as Unix seconds."""
        with self._changed:
            if not self._changed.wait_for(lambda: (namespace, name) in self.scaled_at, timeout_s):
                return float("inf")
            return self.scaled_at[namespace, name]

    def _podautoscaler(self, kind: EventKind, old: PodAutoscaler | None, new: PodAutoscaler | None) -> None:
        if new is None:
            return
        key = new.metadata.namespace, new.metadata.name
        with self._changed:
            if (
                new.status.desired_scale is not None
                and new.status.desired_scale >= 0
                and is_true(new.status.conditions, "Ready")
            ):
                self.settled.add(key)
            else:
                self.settled.discard(key)
            self._changed.notify_all()
