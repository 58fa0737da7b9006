"""Process autoscaler: what the GPU class is built from: reflectors, reports, settings, voices."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from hasgpu.cluster.custom import Gpu, LatencyProfile
from hasgpu.cluster.events import EventRecorder
from hasgpu.cluster.objects import Node, Pod
from hasgpu.cluster.reflector import Reflector
from hasgpu.cluster.session import Session
from hasgpu.model.keys import RevisionKey
from hasgpu.model.report import NodeReport
from hasgpu.settings.store import ConfigStore
from hasgpu.telemetry.cloudevents import CloudEvents
from hasgpu.telemetry.metrics import Metrics
from hasgpu.telemetry.tracing import Tracing

from .pod_index import PodIndex
from .reconciler import Caches


class AgentReports:
    """The last report of each node agent and when it came. Written by the event loop, read by the GPU class."""

    def __init__(self, on_change: Callable[[], None]) -> None:
        self._on_change = on_change
        self._lock = threading.Lock()
        self._reports: dict[str, tuple[NodeReport, float]] = {}

    def put(self, report: NodeReport, now: float) -> None:
        """Take a report; a changed one wakes the GPU class."""
        with self._lock:
            before = self._reports.get(report.node)
            self._reports[report.node] = (report, now)
        if before is None or before[0].revision != report.revision:
            self._on_change()

    def snapshot(self) -> Mapping[str, tuple[NodeReport, float]]:
        """By node name: the report, and when it was heard. A node never heard is missing."""
        with self._lock:
            return dict(self._reports)

    def keep_only(self, nodes: set[str]) -> None:
        """Forget nodes without a GPU."""
        with self._lock:
            self._reports = {node: each for node, each in self._reports.items() if node in nodes}


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """Everything the GPU class may touch."""

    session: Session
    settings: ConfigStore
    caches: Caches
    pods: Reflector[Pod]
    """Pods of revisions, also those not placed yet."""
    pod_index: PodIndex
    """The same pods by revision."""
    gpus: Reflector[Gpu]
    profiles: Reflector[LatencyProfile]
    nodes: Reflector[Node]
    reports: AgentReports
    all_connected: Callable[[float], bool]
    """Whether every activator is connected, so that silence means no load."""
    still_leading: Callable[[float], bool]
    """The fence: asked before every write of an allocation."""
    enqueue: Callable[[RevisionKey], None]
    """Announces a changed wish of a revision: its PodAutoscaler is reconciled at once."""
    wake: Callable[[], None]
    """Asks for an early ``tick``."""
    events: EventRecorder
    tracing: Tracing
    metrics: Metrics
    cloudevents: CloudEvents
