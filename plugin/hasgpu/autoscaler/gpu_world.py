"""Process autoscaler: the cluster as the allocator sees it at one instant, by value. Reads, decides nothing.

Truth is in three places: pods say what is written, agents say what is applied, and our own last writes may be newer
than our copy of the pods. Where they differ the larger claim counts (design §5.1).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from hasgpu.cluster.objects import Node, Pod
from hasgpu.model import annotations as keys
from hasgpu.model.gpu import Gpu, Placement
from hasgpu.model.keys import PodKey, RevisionKey
from hasgpu.model.report import PodSliceReport

REPORT_FRESH_S = 3.0
"""An agent tells each second. Its counts stand still for longer: it is not known what its pods did."""


class RowKey(NamedTuple):
    """A row of a GPU."""

    gpu_uuid: str
    row: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuWorld:
    """One instant."""

    gpus: tuple[Gpu, ...]
    """``healthy`` only where the node's agent was heard too."""
    products: Mapping[str, str]
    """By GPU UUID."""
    nodes: Mapping[str, Node]
    pods: Mapping[PodKey, Pod]
    placements: tuple[Placement, ...]
    placed: Mapping[RevisionKey, tuple[Placement, ...]]
    """The same by revision."""
    in_row: Mapping[RowKey, tuple[Placement, ...]]
    """The same by row."""
    pods_of: Mapping[RevisionKey, tuple[Pod, ...]]
    unbound: Mapping[PodKey, Pod]
    """Those of the pods that no node has yet and that are not leaving."""
    waiting: tuple[Pod, ...]
    """Pods held by our gate, most important and oldest first."""
    reports: Mapping[str, PodSliceReport]
    """By pod UID."""
    heard_s: Mapping[str, float]
    """When the report was heard, by pod UID."""
    acknowledged: tuple[float, ...] = ()
    """When the quotas were written that agents have laid since the last look."""

    def placements_of(self, revision: RevisionKey) -> tuple[Placement, ...]:
        """The revision's placed pods."""
        return self.placed.get(revision, ())

    def mates_of(self, revision: RevisionKey) -> set[RevisionKey]:
        """Whoever shares a row with the revision."""
        rows = {RowKey(each.slice.gpu_uuid, each.slice.row) for each in self.placements_of(revision)}
        return {mate.revision for row in rows for mate in self.in_row[row]} - {revision}

    def hears(self, placements: Iterable[Placement], now: float) -> bool:
        """Whether it is known what each pod did that may serve."""
        return all(
            now - self.heard_s.get(each.pod.uid, -math.inf) <= REPORT_FRESH_S
            for each in placements
            if each.ready or each.terminating
        )


def concerns_gpu(pod: Pod) -> bool:
    """A pod that waits for a slice or has one."""
    return keys.SLICE_GPU in pod.metadata.annotations or pod.gated_by(keys.SCHEDULING_GATE)


def pod_key(pod: Pod) -> PodKey:
    """The pod's identity."""
    return PodKey(pod.metadata.namespace, pod.metadata.name, pod.metadata.uid)


def revision_key(pod: Pod) -> RevisionKey:
    """The pod's revision; a pod of none is a revision of its own, so that it is counted all the same."""
    return RevisionKey(
        pod.metadata.namespace, pod.metadata.labels.get(keys.REVISION_LABEL) or f"pod {pod.metadata.name}"
    )
