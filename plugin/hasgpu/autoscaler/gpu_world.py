"""Process autoscaler: the cluster as the allocator sees it at one instant, by value. Reads, decides nothing.

Truth is in three places: pods say what is written, agents say what is applied, and our own last writes may be newer
than our copy of the pods. Where they differ the larger claim counts (design §5.1).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from hasgpu.cluster.custom import to_gpu
from hasgpu.cluster.errors import ClusterError
from hasgpu.cluster.objects import Node, Pod
from hasgpu.decision.ledger import Ledger
from hasgpu.model import annotations as keys
from hasgpu.model.gpu import Gpu, GpuSlice, Placement
from hasgpu.model.keys import PodKey, RevisionKey
from hasgpu.model.ledger import parse_slice
from hasgpu.model.report import NodeReport, PodSliceReport
from hasgpu.model.units import MIN_TIME_QUOTA_PERCENT, SmPartition, TimeQuota

from .own_writes import OwnWrites
from .surroundings import Surroundings

AGENT_SILENT_S = 10.0
"""An agent silent for longer: no placement and no growth on its node."""
REPORT_FRESH_S = 3.0
"""An agent tells each second. Its counts stand still for longer: it is not known what its pods did."""
MOST_PROCESSES = 16
_PROCESSES = re.compile(r"[0-9]{1,3}\Z")
_Each = TypeVar("_Each", Pod, Placement)


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuWorld:
    """One instant."""

    gpus: tuple[Gpu, ...]
    """``healthy`` only where the node's agent was heard too."""
    nodes: Mapping[str, Node]
    pods: Mapping[PodKey, Pod]
    placements: tuple[Placement, ...]
    placed: Mapping[RevisionKey, tuple[Placement, ...]]
    """The same by revision."""
    pods_of: Mapping[RevisionKey, tuple[Pod, ...]]
    waiting: tuple[Pod, ...]
    """Pods held by our gate, most important and oldest first."""
    reports: Mapping[str, PodSliceReport]
    """By pod UID."""
    heard_s: Mapping[str, float]
    """When the report was heard, by pod UID."""
    acknowledged: tuple[float, ...] = ()
    """When the quotas were written that agents have laid since the last look."""

    def ledger(self, row_percent: int) -> Ledger:
        """Books of this instant; of each row so much is given away at most."""
        return Ledger(self.gpus, self.placements, row_percent)

    def placements_of(self, revision: RevisionKey) -> tuple[Placement, ...]:
        """The revision's placed pods."""
        return self.placed.get(revision, ())

    def hears(self, placements: Iterable[Placement], now: float) -> bool:
        """Whether it is known what each pod did that may serve."""
        return all(
            now - self.heard_s.get(each.pod.uid, -math.inf) <= REPORT_FRESH_S
            for each in placements
            if each.ready or each.terminating
        )


def look(around: Surroundings, writes: OwnWrites, now: float) -> GpuWorld:
    """The world as of now."""
    heard = around.reports.snapshot()
    gpus = tuple(_gpus(around, heard, now))
    reports = {each.pod_uid: each for report, _ in heard.values() for each in report.pods}
    # Most pods of a cluster are no business of ours, and this is done each second.
    ours = (pod for pod in around.pods.snapshot() if concerns_gpu(pod))
    pods = {pod_key(pod): pod for pod in map(writes.newest, ours)}
    acknowledged = writes.forget_acknowledged(pods, reports)
    fresh = {gpu.uuid for gpu in gpus if gpu.reachable}
    placements = [
        placement for pod in pods.values() if (placement := _placement(pod, reports, writes, fresh, now)) is not None
    ]
    known = {pod.uid for pod in pods}
    placements += [_remnant(each) for each in reports.values() if each.alive and each.pod_uid not in known]
    return GpuWorld(
        gpus=gpus,
        nodes={node.metadata.name: node for node in around.nodes.snapshot()},
        pods=pods,
        placements=tuple(placements),
        placed=_grouped((each.revision, each) for each in placements),
        pods_of=_grouped((revision_key(pod), pod) for pod in pods.values()),
        waiting=_waiting(pod for pod in pods.values() if writes.claimed(pod, now) is None),
        reports=reports,
        heard_s={each.pod_uid: at_s for report, at_s in heard.values() for each in report.pods},
        acknowledged=tuple(acknowledged),
    )


def _grouped(pairs: Iterable[tuple[RevisionKey, _Each]]) -> dict[RevisionKey, tuple[_Each, ...]]:
    """Made once an instant: whoever looks for one revision's must not walk over everybody's."""
    groups: dict[RevisionKey, list[_Each]] = {}
    for key, each in pairs:
        groups.setdefault(key, []).append(each)
    return {key: tuple(group) for key, group in groups.items()}


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


def _gpus(around: Surroundings, heard: Mapping[str, tuple[NodeReport, float]], now: float) -> Iterable[Gpu]:
    for found in around.gpus.snapshot():
        try:
            gpu = to_gpu(found)
        except ClusterError:
            continue  # the agent that wrote it will write it again; a GPU that can't be read takes no pod
        last = heard.get(gpu.node)
        reachable = last is not None and now - last[1] <= AGENT_SILENT_S
        well = gpu.healthy and reachable and found.metadata.deletion_timestamp is None
        yield replace(gpu, healthy=well, reachable=reachable)


def _placement(
    pod: Pod, reports: Mapping[str, PodSliceReport], writes: OwnWrites, fresh: set[str], now: float
) -> Placement | None:
    """The ledger's entry of a pod; None where it has none or its agent says that it is gone."""
    try:
        entry = parse_slice(pod.metadata.annotations)
    except ValueError:
        return None
    entry = entry or writes.claimed(pod, now)
    if entry is None:
        return None
    uid = pod.metadata.uid
    report = reports.get(uid)
    leaving = pod.terminating or pod.finished
    if leaving and entry.gpu_uuid in fresh and (report is None or not report.alive):
        return None
    return Placement(
        pod=pod_key(pod),
        revision=revision_key(pod),
        slice=entry,
        processes=_processes(pod),
        ready=pod.ready and not leaving,
        terminating=leaving,
        priority=pod.spec.priority,
        applied_generation=report.generation if report is not None else -1,
        applied_quota_percent=max(report.quota_percent if report is not None else -1, writes.peak_percent(uid)),
    )


def _remnant(report: PodSliceReport) -> Placement:
    """A pod whose object is gone while its agent still sees a process or a volume of it."""
    entry = GpuSlice(
        gpu_uuid=report.gpu_uuid,
        row=report.row,
        sm_partition=SmPartition(min(100, max(1, report.sm_percent))),
        time_quota=_quota(report.quota_percent),
        memory_bytes=report.memory_bytes,
        generation=report.generation,
    )
    return Placement(
        pod=PodKey(report.namespace, report.name, report.pod_uid),
        revision=RevisionKey(report.namespace or "-", f"pod {report.name or report.pod_uid}"),
        slice=entry,
        processes=max(1, report.processes),
        terminating=True,
        applied_generation=report.generation,
        applied_quota_percent=report.quota_percent,
    )


def _quota(percent: int) -> TimeQuota:
    """What an agent says it has laid, rounded up to what a quota can be: one agent's fault must not stop all."""
    return TimeQuota(0 if percent <= 0 else min(100, max(MIN_TIME_QUOTA_PERCENT, percent)))


def _processes(pod: Pod) -> int:
    """What the user asked for. The key may be changed on a pod: whatever it says, it counts within bounds."""
    text = pod.metadata.annotations.get(keys.GPU_PROCESSES, "1")
    return min(MOST_PROCESSES, max(1, int(text))) if _PROCESSES.match(text) else MOST_PROCESSES


def _waiting(pods: Iterable[Pod]) -> tuple[Pod, ...]:
    held = [pod for pod in pods if pod.gated_by(keys.SCHEDULING_GATE) and not pod.terminating]
    return tuple(sorted(held, key=_turn))


def _turn(pod: Pod) -> tuple[int, float, str]:
    created = pod.metadata.creation_timestamp
    return -pod.spec.priority, created.timestamp() if created else 0.0, pod.metadata.name
