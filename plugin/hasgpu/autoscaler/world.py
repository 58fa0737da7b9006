"""Process autoscaler: the reflectors, and which work each event makes. Reads the cluster; writes nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from hasgpu.cluster.custom import Gpu, LatencyProfile
from hasgpu.cluster.knative import Metric, PodAutoscaler, ServerlessService
from hasgpu.cluster.metadata import HasMetadata
from hasgpu.cluster.objects import ConfigMap, Deployment, Lease, Node, Pod
from hasgpu.cluster.paths import (
    CONFIG_MAPS,
    DEPLOYMENTS,
    GPUS,
    LATENCY_PROFILES,
    LEASES,
    METRICS,
    NODES,
    POD_AUTOSCALERS,
    PODS,
    SERVERLESS_SERVICES,
    collection,
)
from hasgpu.cluster.reflector import EventKind, Reflector
from hasgpu.cluster.session import Session
from hasgpu.model.annotations import KPA_CLASS, REVISION_LABEL, SCHEDULING_GATE, SLICE_GPU
from hasgpu.model.keys import RevisionKey

from .pod_index import PodIndex
from .revision_spec import scaling_class


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """Whom an event concerns. All are called in a reflector's thread and must be quick."""

    podautoscaler: Callable[[RevisionKey], None]
    metric: Callable[[RevisionKey], None]
    config_map: Callable[[str, Mapping[str, str]], object]
    gpu_class: Callable[[], None]
    gpus: Callable[[], None]


ACTIVATOR_SELECTOR = "app=activator"
"""What Knative's own Service of the activators selects by."""


class World:
    """What this process sees of the cluster."""

    def __init__(self, session: Session, namespace: str, work: Work) -> None:
        self._work = work
        self.pod_index = PodIndex()
        self._classes: dict[RevisionKey, str] = {}
        self.podautoscalers = Reflector(
            session, collection(POD_AUTOSCALERS), PodAutoscaler, on_event=self._on_podautoscaler
        )
        self.sks = Reflector(session, collection(SERVERLESS_SERVICES), ServerlessService, on_event=self._on_owned)
        self.metrics = Reflector(session, collection(METRICS), Metric, on_event=self._on_metric)
        self.deployments = Reflector(
            session, collection(DEPLOYMENTS), Deployment, label_selector=REVISION_LABEL, on_event=self._on_deployment
        )
        self.pods = Reflector(session, collection(PODS), Pod, label_selector=REVISION_LABEL, on_event=self._on_pod)
        self.activators = Reflector(session, collection(PODS, namespace), Pod, label_selector=ACTIVATOR_SELECTOR)
        self.leases = Reflector(session, collection(LEASES, namespace), Lease)
        self.config_maps = Reflector(
            session, collection(CONFIG_MAPS, namespace), ConfigMap, on_event=self._on_config_map
        )
        self.nodes = Reflector(session, collection(NODES), Node, on_event=self._on_room)
        self.gpus = Reflector(session, collection(GPUS), Gpu, on_event=self._on_gpu)
        self.profiles = Reflector(session, collection(LATENCY_PROFILES), LatencyProfile, on_event=self._on_room)

    def start(self, timeout_s: float = 60.0) -> bool:
        """Begins to watch and waits for what serving needs; False where the API server did not answer in time."""
        for reflector in (*self._needed(), *self._optional()):
            reflector.start()
        end = time.monotonic() + timeout_s
        return all(reflector.wait_synced(max(0.0, end - time.monotonic())) for reflector in self._needed())

    def stop(self) -> None:
        """Ends all watches."""
        for reflector in (*self._needed(), *self._optional()):
            reflector.stop(timeout_s=0.5)

    @property
    def synced(self) -> bool:
        """True once everything that serving needs has been listed. GPUs and profiles may be missing in a cluster."""
        return all(reflector.synced for reflector in self._needed())

    def ages_s(self, now: float) -> dict[str, float]:
        """Seconds since anything was heard of each kind; ``inf`` before its first list."""
        ages_s = {each.kind: each.age_s(now) for each in (*self._optional(), *self._needed())}
        # Pods as well, as far as their kind says.
        return {**ages_s, "activators": self.activators.age_s(now)}

    def _needed(self) -> tuple[Reflector[Any], ...]:
        return (
            self.config_maps,
            self.leases,
            self.pods,
            self.deployments,
            self.sks,
            self.metrics,
            self.podautoscalers,
        )

    def _optional(self) -> tuple[Reflector[Any], ...]:
        return self.nodes, self.gpus, self.profiles, self.activators

    def _on_podautoscaler(self, kind: EventKind, old: PodAutoscaler | None, new: PodAutoscaler | None) -> None:
        key = _key(new or old)
        if new is None:
            self._classes.pop(key, None)
        else:
            self._classes[key] = scaling_class(new)
        self._work.podautoscaler(key)

    def class_of(self, key: RevisionKey) -> str:
        """The class of a revision; Knative's own where it is not known. Asked for each report of load: one look-up."""
        return self._classes.get(key, KPA_CLASS)

    def _on_owned(self, kind: EventKind, old: HasMetadata | None, new: HasMetadata | None) -> None:
        """The owner's work: not by name or class annotation, which may be out of date."""
        found = new or old
        owner = found.metadata.controller if found is not None else None
        if found is not None and owner is not None and owner.kind == "PodAutoscaler":
            self._work.podautoscaler(RevisionKey(found.metadata.namespace, owner.name))

    def _on_metric(self, kind: EventKind, old: Metric | None, new: Metric | None) -> None:
        self._work.metric(_key(new or old))
        self._on_owned(kind, old, new)

    def _on_deployment(self, kind: EventKind, old: Deployment | None, new: Deployment | None) -> None:
        """Only its appearance is work: a reconcile may be waiting for it."""
        if old is None and new is not None:
            name = new.metadata.labels[REVISION_LABEL]
            self._work.podautoscaler(RevisionKey(new.metadata.namespace, name))

    def _on_pod(self, kind: EventKind, old: Pod | None, new: Pod | None) -> None:
        key = self.pod_index.on_event(kind, old, new)
        if key is not None:
            self._work.podautoscaler(key)
        pod = new or old
        if pod is not None and (pod.gated_by(SCHEDULING_GATE) or SLICE_GPU in pod.metadata.annotations):
            self._work.gpu_class()

    def _on_config_map(self, kind: EventKind, old: ConfigMap | None, new: ConfigMap | None) -> None:
        """One that is deleted changes nothing, as upstream: whoever replaces it by force deletes it for a moment."""
        if new is not None:
            self._work.config_map(new.metadata.name, new.data)

    def _on_gpu(self, kind: EventKind, old: Gpu | None, new: Gpu | None) -> None:
        self._work.gpus()
        self._work.gpu_class()

    def _on_room(self, kind: EventKind, old: Node | LatencyProfile | None, new: Node | LatencyProfile | None) -> None:
        """Nodes report themselves every ten seconds: only what changes placement or prediction is news."""
        if isinstance(old, Node) and isinstance(new, Node):
            same_status = (old.status.allocatable, old.ready) == (new.status.allocatable, new.ready)
            if same_status and old.spec == new.spec and old.metadata.labels == new.metadata.labels:
                return
        self._work.gpu_class()


def _key(found: HasMetadata | None) -> RevisionKey:
    """An event has at least one of old and new."""
    assert found is not None
    return RevisionKey(found.metadata.namespace, found.metadata.name)
