"""Process autoscaler: looks at the cluster again and again. Reads anew only what changed; decides nothing.

A cluster of a thousand GPU pods is looked at ten times a second, and in a tenth of a second few of them change. A pod
is read again where its object changed, its agent said something, or a write of ours is on its way to either.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from hasgpu.cluster.custom import Gpu as GpuObject
from hasgpu.cluster.custom import to_gpu
from hasgpu.cluster.errors import ClusterError
from hasgpu.cluster.objects import Pod
from hasgpu.decision.ledger import Ledger
from hasgpu.model import annotations as keys
from hasgpu.model.gpu import Gpu, GpuSlice, Placement
from hasgpu.model.keys import PodKey, RevisionKey
from hasgpu.model.ledger import parse_slice
from hasgpu.model.report import NodeReport, PodSliceReport
from hasgpu.model.units import MIN_TIME_QUOTA_PERCENT, SmPartition, TimeQuota

from .changes import Groups, changes
from .gpu_world import GpuWorld, RowKey, concerns_gpu, pod_key, revision_key
from .heard_reports import HeardReports
from .own_writes import OwnWrites
from .surroundings import Surroundings

AGENT_SILENT_S = 10.0
"""An agent silent for longer: no placement and no growth on its node."""
MOST_PROCESSES = 16
_PROCESSES = re.compile(r"[0-9]{1,3}\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reading:
    """What one version of a pod says."""

    pod: Pod
    key: PodKey
    revision: RevisionKey
    entry: GpuSlice | None
    readable: bool
    """False where the annotations are no slice: then the pod has none."""
    processes: int
    ready: bool
    leaving: bool
    held: bool
    """It waits for a slice."""


@dataclass(frozen=True, slots=True)
class _Placed:
    """A placement, and what it was made of: a pod, or what an agent says of one that is gone."""

    of: _Reading | PodSliceReport
    entry: GpuSlice | None
    generation: int
    quota_percent: int
    placement: Placement

    def made_of(self, of: object, entry: GpuSlice, generation: int, quota_percent: int) -> bool:
        """True where it would be made the same again."""
        same = self.of is of and self.entry is entry
        return same and self.generation == generation and self.quota_percent == quota_percent


class Lookout:
    """Used by one thread; what it keeps is only what it would find again."""

    def __init__(self, around: Surroundings, writes: OwnWrites) -> None:
        self._around, self._writes = around, writes
        self.forget()

    def forget(self) -> None:
        """Begins anew: our writes are not what they were."""
        self._seen: tuple[Pod, ...] = ()
        self._watched: dict[str, Pod] = {}
        """As our watch shows them, by UID. Most pods of a cluster are no business of ours."""
        self._heard = HeardReports()
        self._gpus: dict[str, tuple[GpuObject, bool, Gpu]] = {}
        self._readings: dict[str, _Reading] = {}
        self._placed: dict[str, _Placed] = {}
        self._pods: dict[PodKey, Pod] = {}
        self._unbound: dict[PodKey, Pod] = {}
        self._waiting: dict[PodKey, Pod] = {}
        self._pods_of: Groups[RevisionKey, Pod] = Groups()
        self._placed_of: Groups[RevisionKey, Placement] = Groups()
        self._in_row: Groups[RowKey, Placement] = Groups()
        self._books = Ledger((), ())

    def look(self, now: float) -> GpuWorld:
        """The world as of now."""
        heard = self._around.reports.snapshot()
        gpus = self._look_at_gpus(heard, now)
        touched = self._writes.pending() | self._heard.follow(heard) | self._look_at_pods()
        if self._begin_books(gpus):
            # Whether a pod that leaves is gone is said by an agent that is heard.
            touched |= self._readings.keys()
        acknowledged = self._writes.forget_acknowledged(self._watched.keys(), self._heard.by_pod)
        fresh = {gpu.uuid for gpu in gpus if gpu.reachable}
        for uid in touched:
            self._read(uid)
            self._place(uid, fresh, now)
        return GpuWorld(
            gpus=gpus,
            products={gpu.uuid: gpu.product for gpu in gpus},
            nodes={node.metadata.name: node for node in self._around.nodes.snapshot()},
            pods=dict(self._pods),
            placements=tuple(each.placement for each in self._placed.values()),
            placed=self._placed_of.all(),
            in_row=self._in_row.all(),
            pods_of=self._pods_of.all(),
            unbound=dict(self._unbound),
            waiting=tuple(sorted(self._waiting.values(), key=_turn)),
            reports=dict(self._heard.by_pod),
            heard_s=dict(self._heard.at_s),
            acknowledged=tuple(acknowledged),
        )

    def ledger(self) -> Ledger:
        """Books of the last look, for a pass to change; of each row so much is given away as the settings say."""
        return self._books.copy()

    def _look_at_gpus(self, heard: Mapping[str, tuple[NodeReport, float]], now: float) -> tuple[Gpu, ...]:
        before, self._gpus = self._gpus, {}
        for found in self._around.gpus.snapshot():
            last, name = heard.get(found.spec.node), found.metadata.name
            reachable = last is not None and now - last[1] <= AGENT_SILENT_S
            known = before.get(name)
            if known is None or known[0] is not found or known[1] != reachable:
                try:
                    known = found, reachable, _gpu(found, reachable)
                except ClusterError:
                    continue  # the agent that wrote it will write it again; a GPU that can't be read takes no pod
            self._gpus[name] = known
        return tuple(gpu for _, _, gpu in self._gpus.values())

    def _begin_books(self, gpus: tuple[Gpu, ...]) -> bool:
        """New ones where a GPU is not what it was, or another part of rows is given away; says whether."""
        row_percent = self._around.settings.hasgpu.value.row_percent
        if self._books.row_percent == row_percent and gpus == tuple(books.gpu for books in self._books.gpus()):
            return False
        self._books = Ledger(gpus, (each.placement for each in self._placed.values()), row_percent)
        return True

    def _look_at_pods(self) -> set[str]:
        """Follows our watch; UIDs of the pods that changed."""
        before, self._seen = self._seen, self._around.pods.snapshot()
        gone, come = changes(before, self._seen)
        for pod in gone:
            self._watched.pop(pod.metadata.uid, None)
        for pod in come:
            if concerns_gpu(pod):
                self._watched[pod.metadata.uid] = pod
        return {pod.metadata.uid for pod in (*gone, *come)}

    def _read(self, uid: str) -> None:
        """Reads a pod again, where it is not the version that was read last."""
        watched, before = self._watched.get(uid), self._readings.get(uid)
        pod = self._writes.newest(watched) if watched is not None else None
        if pod is (before.pod if before is not None else None):
            return
        if before is not None:
            for kept in (self._pods, self._unbound, self._waiting):
                kept.pop(before.key, None)
        if pod is None:
            del self._readings[uid]
            self._pods_of.drop(uid)
            return
        reading = self._readings[uid] = _read(pod)
        self._pods[reading.key] = pod
        if not (pod.terminating or pod.spec.node_name):
            self._unbound[reading.key] = pod
        self._pods_of.put(uid, reading.revision, pod)

    def _place(self, uid: str, fresh: set[str], now: float) -> None:
        """Enters where a pod is now."""
        before, placed = self._placed.get(uid), self._found(uid, fresh, now)
        if placed is before:
            return
        if before is not None and (placed is None or placed.placement.pod != before.placement.pod):
            self._books.leave(before.placement.pod)
        if placed is None:
            del self._placed[uid]
            self._placed_of.drop(uid)
            self._in_row.drop(uid)
            return
        placement = placed.placement
        self._placed[uid] = placed
        self._placed_of.put(uid, placement.revision, placement)
        self._in_row.put(uid, RowKey(placement.slice.gpu_uuid, placement.slice.row), placement)
        self._books.enter(placement)

    def _found(self, uid: str, fresh: set[str], now: float) -> _Placed | None:
        """Where a pod is, the same object as long as it is the same; None where it has no slice, or none any more."""
        reading, report, before = self._readings.get(uid), self._heard.by_pod.get(uid), self._placed.get(uid)
        if reading is None:
            if report is None or not report.alive:
                return None
            return _Placed(report, None, report.generation, report.quota_percent, _remnant(report))
        claimed = self._writes.claimed(reading.pod, now)
        if claimed is None and reading.held:
            self._waiting[reading.key] = reading.pod
        else:
            self._waiting.pop(reading.key, None)
        entry = reading.entry or (claimed if reading.readable else None)
        if entry is None:
            return None
        if reading.leaving and entry.gpu_uuid in fresh and (report is None or not report.alive):
            return None  # its agent says that it is gone
        generation = report.generation if report is not None else -1
        percent = max(report.quota_percent if report is not None else -1, self._writes.peak_percent(uid))
        if before is not None and before.made_of(reading, entry, generation, percent):
            return before
        return _Placed(reading, entry, generation, percent, _placement(reading, entry, generation, percent))


def _gpu(found: GpuObject, reachable: bool) -> Gpu:
    gpu = to_gpu(found)
    well = gpu.healthy and reachable and found.metadata.deletion_timestamp is None
    return replace(gpu, healthy=well, reachable=reachable)


def _read(pod: Pod) -> _Reading:
    try:
        entry, readable = parse_slice(pod.metadata.annotations), True
    except ValueError:
        entry, readable = None, False
    leaving = pod.terminating or pod.finished
    return _Reading(
        pod=pod,
        key=pod_key(pod),
        revision=revision_key(pod),
        entry=entry,
        readable=readable,
        processes=_processes(pod),
        ready=pod.ready and not leaving,
        leaving=leaving,
        held=pod.gated_by(keys.SCHEDULING_GATE) and not pod.terminating,
    )


def _placement(reading: _Reading, entry: GpuSlice, generation: int, quota_percent: int) -> Placement:
    """The ledger's entry of a pod."""
    return Placement(
        pod=reading.key,
        revision=reading.revision,
        slice=entry,
        processes=reading.processes,
        ready=reading.ready,
        terminating=reading.leaving,
        priority=reading.pod.spec.priority,
        applied_generation=generation,
        applied_quota_percent=quota_percent,
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


def _turn(pod: Pod) -> tuple[int, float, str]:
    created = pod.metadata.creation_timestamp
    return -pod.spec.priority, created.timestamp() if created else 0.0, pod.metadata.name
