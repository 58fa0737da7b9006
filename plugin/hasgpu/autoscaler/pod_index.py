"""Process autoscaler: the pods of each revision, counted as Knative counts them. Reads the pod reflector only.

Knative's own lister walks all pods of a namespace for each tick; the index makes that the revision's pods.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from hasgpu.cluster.objects import Pod
from hasgpu.cluster.reflector import EventKind
from hasgpu.model.annotations import REVISION_LABEL
from hasgpu.model.keys import RevisionKey
from hasgpu.stats.scraper import Scrapeable


@dataclass(frozen=True, slots=True, kw_only=True)
class PodCounts:
    """Pods of a revision by state; a terminating or pending pod is not ready too."""

    ready: int = 0
    not_ready: int = 0
    pending: int = 0
    terminating: int = 0


class PodIndex:
    """Fed by a reflector's events; may be read from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pods: dict[RevisionKey, dict[str, Pod]] = {}
        self._counts: dict[RevisionKey, PodCounts] = {}
        self._scrapeable: dict[RevisionKey, tuple[Scrapeable, ...]] = {}

    def on_event(self, kind: EventKind, old: Pod | None, new: Pod | None) -> RevisionKey | None:
        """Follow one event; the revision it is about."""
        pod = new or old
        key = revision_of(pod) if pod is not None else None
        if pod is None or key is None:
            return None
        with self._lock:
            pods = self._pods.setdefault(key, {})
            if kind == "DELETED":
                pods.pop(pod.metadata.name, None)
            else:
                pods[pod.metadata.name] = pod
            if pods:
                self._counts[key] = count(pods.values())
                self._scrapeable[key] = tuple(_scrapeable(pods.values()))
            else:
                del self._pods[key]
                self._counts.pop(key, None)
                self._scrapeable.pop(key, None)
        return key

    def pods(self, key: RevisionKey) -> tuple[Pod, ...]:
        """The revision's pods, by value."""
        with self._lock:
            return tuple(self._pods.get(key, {}).values())

    def scrapeable(self, key: RevisionKey) -> tuple[Scrapeable, ...]:
        """The pods whose queue-proxies tell the revision's load."""
        return self._scrapeable.get(key, ())

    def counts(self, key: RevisionKey) -> PodCounts:
        """How many are in which state."""
        return self._counts.get(key, _NONE)


_NONE = PodCounts()


def revision_of(pod: Pod) -> RevisionKey | None:
    """The revision whose pod this is."""
    name = pod.metadata.labels.get(REVISION_LABEL)
    return RevisionKey(pod.metadata.namespace, name) if name else None


def _scrapeable(pods: Iterable[Pod]) -> Iterator[Scrapeable]:
    for pod in pods:
        status = pod.status
        if status.phase == "Running" and pod.ready and not pod.terminating and status.pod_ip:
            started_at_s = status.start_time.timestamp() if status.start_time is not None else math.inf
            yield Scrapeable(status.pod_ip, started_at_s)


def count(pods: Iterable[Pod]) -> PodCounts:
    """knative/serving pkg/resources/pods.go: finished pods count nowhere."""
    ready = not_ready = pending = terminating = 0
    for pod in pods:
        if pod.status.phase == "Pending":
            pending += 1
            not_ready += 1
        elif pod.status.phase == "Running":
            if pod.terminating:
                terminating += 1
                not_ready += 1
            elif pod.ready:
                ready += 1
            else:
                not_ready += 1
    return PodCounts(ready=ready, not_ready=not_ready, pending=pending, terminating=terminating)
