"""Feeds a timeline from the cluster: the demo's pods as a watch shows them."""

from __future__ import annotations

import threading
import time

from hasgpu.cluster.objects import Pod
from hasgpu.cluster.reflector import EventKind, Reflector
from hasgpu.cluster.session import Session
from hasgpu.model import annotations as keys
from hasgpu.model.ledger import parse_slice

from .timeline import PodState, Timeline


class Watcher:
    """Watches the pods of a namespace until stopped; ``timeline`` may be read at any time."""

    def __init__(self, session: Session, namespace: str) -> None:
        self.timeline = Timeline()
        self._lock = threading.Lock()
        self._begin = time.monotonic()
        self._pods = Reflector(
            session,
            f"/api/v1/namespaces/{namespace}/pods",
            Pod,
            label_selector=keys.SERVICE_LABEL,
            on_event=self._seen,
        )

    def start(self, begin: float) -> None:
        """Starts to watch; times count from ``begin`` on time.monotonic()."""
        self._begin = begin
        self._pods.start()
        self._pods.wait_synced(30)

    def stop(self) -> None:
        """Ends the watch."""
        self._pods.stop()

    def pods_left(self, service: str) -> int:
        """Pods of a service that still exist."""
        return sum(1 for pod in self._pods.snapshot() if pod.metadata.labels.get(keys.SERVICE_LABEL) == service)

    def _seen(self, kind: EventKind, old: Pod | None, new: Pod | None) -> None:
        pod = new or old
        if pod is None:
            return
        state = _state(pod, time.monotonic() - self._begin, gone=kind == "DELETED")
        with self._lock:
            self.timeline.add(state)


def _state(pod: Pod, at_s: float, *, gone: bool) -> PodState:
    entry = parse_slice(pod.metadata.annotations)
    user = next((s for s in pod.status.container_statuses if s.name == "user-container"), None)
    return PodState(
        at_s=at_s,
        service=pod.metadata.labels.get(keys.SERVICE_LABEL, ""),
        pod=pod.metadata.name,
        pod_uid=pod.metadata.uid,
        sm_percent=entry.sm_partition.percent if entry else 0,
        quota_percent=entry.time_quota.percent if entry else 0,
        ready=pod.ready,
        terminating=pod.terminating,
        container_id=user.container_id if user else "",
        restarts=user.restart_count if user else 0,
        gone=gone,
    )
