"""What a node agent answers on GET /v1/slices: the applied truth of its pods."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class PodSliceReport:
    """One pod on this node, as its pages say; counters only grow while the pod lives."""

    pod_uid: str
    namespace: str
    name: str
    gpu_uuid: str
    generation: int
    """The last generation laid into the schedule page."""
    quota_percent: int
    """The quota laid."""
    processes: int
    busy_ns: int
    gated_ns: int
    debt_ns: int
    launches: int
    waiting: int
    """Launches held at the gate now."""
    memory_bytes: int
    sm_count: int
    """SMs seen at the first context; 0 before it."""
    alive: bool
    """False once the last process and the volume are gone: the slice is free."""
    row: int = 0
    sm_percent: int = 0
    """SMs of the row as laid; with ``row`` it lets a pod be counted whose object is gone already. 0: unknown."""
    borrowed_ns: int = 0
    """Of ``busy_ns``: in idle time of the row that was lent, owed to nobody."""
    overrun_ns: int = 0
    """Of ``busy_ns``: outside its slots, owed."""
    forgiven_ns: int = 0
    """Debt above the cap, never repaid."""
    refused_allocations: int = 0
    bypass_suspected: int = 0
    """Drivers loaded beside the one behind the shim: what runs through them is not held."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeReport:
    """All pods of a node. ``revision`` grows with every change of an applied generation or of ``alive``."""

    node: str
    revision: int
    pods: tuple[PodSliceReport, ...]
