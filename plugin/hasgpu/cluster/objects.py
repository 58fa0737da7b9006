"""Adapter cluster: Kubernetes' own kinds as we read them. Unknown fields are ignored, so never write these back whole.

Knative's kinds are in ``knative``, ours in ``custom``.
"""

from __future__ import annotations

import base64
from datetime import datetime
from typing import Any

import msgspec

from .metadata import Condition, Metadata, is_true


class Named(msgspec.Struct, frozen=True):
    """A thing with a name."""

    name: str


class Resources(msgspec.Struct, frozen=True):
    """Requests and limits as quantities, unparsed."""

    requests: dict[str, str | int | float] = {}
    limits: dict[str, str | int | float] = {}


class ContainerPort(msgspec.Struct, frozen=True, rename="camel"):
    """A port of a container."""

    container_port: int
    name: str = ""


class Container(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A container of a pod's spec."""

    name: str
    image: str = ""
    resources: Resources = Resources()
    ports: tuple[ContainerPort, ...] = ()


class Toleration(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What a pod puts up with."""

    key: str = ""
    operator: str = "Equal"
    value: str = ""
    effect: str = ""


class PodSpec(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What a pod asks for."""

    node_name: str = ""
    scheduling_gates: tuple[Named, ...] = ()
    node_selector: dict[str, str] = {}
    affinity: dict[str, Any] | None = None
    tolerations: tuple[Toleration, ...] = ()
    containers: tuple[Container, ...] = ()
    init_containers: tuple[Container, ...] = ()
    priority: int = 0
    runtime_class_name: str = ""


class ContainerWaiting(msgspec.Struct, frozen=True):
    """Why a container does not run yet."""

    reason: str = ""
    message: str = ""


class ContainerState(msgspec.Struct, frozen=True):
    """Where a container is in its life."""

    waiting: ContainerWaiting | None = None
    running: dict[str, Any] | None = None


class ContainerStatus(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What became of a container."""

    name: str
    container_id: str = msgspec.field(default="", name="containerID")
    ready: bool = False
    restart_count: int = 0
    state: ContainerState = ContainerState()


class PodStatus(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What became of a pod."""

    phase: str = ""
    reason: str = ""
    conditions: tuple[Condition, ...] = ()
    pod_ip: str = msgspec.field(default="", name="podIP")
    start_time: datetime | None = None
    container_statuses: tuple[ContainerStatus, ...] = ()
    init_container_statuses: tuple[ContainerStatus, ...] = ()


class Pod(msgspec.Struct, frozen=True, kw_only=True):
    """A pod."""

    metadata: Metadata
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()

    @property
    def ready(self) -> bool:
        """True where its Ready condition is True."""
        return is_true(self.status.conditions, "Ready")

    @property
    def terminating(self) -> bool:
        """True from the moment it was told to go."""
        return self.metadata.deletion_timestamp is not None

    @property
    def finished(self) -> bool:
        """True where no container of it will run again."""
        return self.status.phase in ("Succeeded", "Failed")

    def gated_by(self, gate: str) -> bool:
        """True while the scheduling gate holds it."""
        gates = self.spec.scheduling_gates
        return bool(gates) and any(each.name == gate for each in gates)


class LabelSelector(msgspec.Struct, frozen=True, rename="camel"):
    """matchLabels of a selector."""

    match_labels: dict[str, str] = {}


class ReplicaSpec(msgspec.Struct, frozen=True):
    """What a Deployment asks for; the template is kept raw."""

    replicas: int = 1
    selector: LabelSelector = LabelSelector()
    template: dict[str, Any] = {}


class ReplicaStatus(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What became of its replicas."""

    replicas: int = 0
    available_replicas: int = 0
    updated_replicas: int = 0
    observed_generation: int = 0
    conditions: tuple[Condition, ...] = ()


class Deployment(msgspec.Struct, frozen=True, kw_only=True):
    """A Deployment."""

    metadata: Metadata
    spec: ReplicaSpec = ReplicaSpec()
    status: ReplicaStatus = ReplicaStatus()


class ConfigMap(msgspec.Struct, frozen=True, kw_only=True):
    """A ConfigMap's texts."""

    metadata: Metadata
    data: dict[str, str] = {}


class Secret(msgspec.Struct, frozen=True, kw_only=True):
    """A Secret; values are base64 as on the wire."""

    metadata: Metadata
    type: str = ""
    data: dict[str, str] = {}

    def value(self, key: str) -> bytes | None:
        """The decoded value."""
        return base64.b64decode(self.data[key]) if key in self.data else None


class Namespace(msgspec.Struct, frozen=True, kw_only=True):
    """A Namespace."""

    metadata: Metadata


class Taint(msgspec.Struct, frozen=True):
    """What a node keeps pods away with."""

    key: str
    effect: str
    value: str = ""


class NodeSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What a node asks for."""

    taints: tuple[Taint, ...] = ()
    unschedulable: bool = False


class NodeStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What a node has."""

    allocatable: dict[str, str] = {}
    conditions: tuple[Condition, ...] = ()


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """A node."""

    metadata: Metadata
    spec: NodeSpec = NodeSpec()
    status: NodeStatus = NodeStatus()

    @property
    def ready(self) -> bool:
        """True where its Ready condition is True."""
        return is_true(self.status.conditions, "Ready")


class LeaseSpec(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Who leads, and until when."""

    holder_identity: str | None = ""
    lease_duration_seconds: int | None = None
    acquire_time: str | None = None
    renew_time: str | None = None
    lease_transitions: int | None = None


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """A Lease."""

    metadata: Metadata
    spec: LeaseSpec = LeaseSpec()
