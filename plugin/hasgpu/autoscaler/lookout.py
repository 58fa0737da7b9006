"""Process autoscaler: looks at the cluster again and again. Reads a pod anew only where it changed; decides nothing.

A cluster of a thousand GPU pods is looked at ten times a second, and in a tenth of a second few of them change.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from hasgpu.cluster.custom import to_gpu
from hasgpu.cluster.errors import ClusterError
from hasgpu.cluster.objects import Pod
from hasgpu.model import annotations as keys
from hasgpu.model.gpu import Gpu, GpuSlice, Placement
from hasgpu.model.keys import PodKey, RevisionKey
from hasgpu.model.ledger import parse_slice
from hasgpu.model.report import NodeReport, PodSliceReport
from hasgpu.model.units import MIN_TIME_QUOTA_PERCENT, SmPartition, TimeQuota

from .gpu_world import GpuWorld, RowKey, concerns_gpu, pod_key, revision_key
from .own_writes import OwnWrites
from .surroundings import Surroundings

AGENT_SILENT_S = 10.0
"""An agent silent for longer: no placement and no growth on its node."""
MOST_PROCESSES = 16
_PROCESSES = re.compile(r"[0-9]{1,3}\Z")
_Key = TypeVar("_Key")
_Each = TypeVar("_Each", Pod, Placement)


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


@dataclass(frozen=True, slots=True)
class _Placed:
    """A placement, and what it was made of."""

    reading: _Reading
    entry: GpuSlice
    generation: int
    quota_percent: int
    placement: Placement

    def made_of(self, reading: _Reading, entry: GpuSlice, generation: int, quota_percent: int) -> bool:
        """True where it would be made the same again."""
        same = self.reading is reading and self.entry is entry
        return same and self.generation == generation and self.quota_percent == quota_percent


class Lookout:
    """Used by one thread; what it keeps is only what it would find again."""

    def __init__(self, around: Surroundings, writes: OwnWrites) -> None:
        self._around, self._writes = around, writes
        self._readings: dict[str, _Reading] = {}
        self._placed: dict[str, _Placed] = {}

    def look(self, now: float) -> GpuWorld:
        """The world as of now."""
        heard = self._around.reports.snapshot()
        gpus = tuple(_gpus(self._around, heard, now))
        reports = {each.pod_uid: each for report, _ in heard.values() for each in report.pods}
        readings = self._read()
        pods = {reading.key: reading.pod for reading in readings.values()}
        acknowledged = self._writes.forget_acknowledged(pods, reports)
        placements = self._place(readings, reports, {gpu.uuid for gpu in gpus if gpu.reachable}, now)
        placements += [_remnant(each) for each in reports.values() if each.alive and each.pod_uid not in readings]
        return GpuWorld(
            gpus=gpus,
            products={gpu.uuid: gpu.product for gpu in gpus},
            nodes={node.metadata.name: node for node in self._around.nodes.snapshot()},
            pods=pods,
            placements=tuple(placements),
            placed=_grouped((each.revision, each) for each in placements),
            in_row=_grouped((RowKey(each.slice.gpu_uuid, each.slice.row), each) for each in placements),
            pods_of=_grouped((reading.revision, reading.pod) for reading in readings.values()),
            waiting=_waiting(pod for pod in pods.values() if self._writes.claimed(pod, now) is None),
            reports=reports,
            heard_s={each.pod_uid: at_s for report, at_s in heard.values() for each in report.pods},
            acknowledged=tuple(acknowledged),
        )

    def _read(self) -> dict[str, _Reading]:
        """By UID. Most pods of a cluster are no business of ours."""
        before, readings = self._readings, {}
        for seen in self._around.pods.snapshot():
            if concerns_gpu(seen):
                pod = self._writes.newest(seen)
                known = before.get(pod.metadata.uid)
                readings[pod.metadata.uid] = known if known is not None and known.pod is pod else _read(pod)
        self._readings = readings
        return readings

    def _place(
        self, readings: Mapping[str, _Reading], reports: Mapping[str, PodSliceReport], fresh: set[str], now: float
    ) -> list[Placement]:
        before, placed = self._placed, {}
        for uid, reading in readings.items():
            entry = reading.entry or (self._writes.claimed(reading.pod, now) if reading.readable else None)
            if entry is None:
                continue
            report = reports.get(uid)
            if reading.leaving and entry.gpu_uuid in fresh and (report is None or not report.alive):
                continue  # its agent says that it is gone
            generation = report.generation if report is not None else -1
            percent = max(report.quota_percent if report is not None else -1, self._writes.peak_percent(uid))
            known = before.get(uid)
            if known is None or not known.made_of(reading, entry, generation, percent):
                known = _Placed(reading, entry, generation, percent, _placement(reading, entry, generation, percent))
            placed[uid] = known
        self._placed = placed
        return [each.placement for each in placed.values()]


def _grouped(pairs: Iterable[tuple[_Key, _Each]]) -> dict[_Key, tuple[_Each, ...]]:
    """Made once a look: whoever looks for one revision's must not walk over everybody's."""
    groups: dict[_Key, list[_Each]] = {}
    for key, each in pairs:
        groups.setdefault(key, []).append(each)
    return {key: tuple(group) for key, group in groups.items()}


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


def _waiting(pods: Iterable[Pod]) -> tuple[Pod, ...]:
    held = [pod for pod in pods if pod.gated_by(keys.SCHEDULING_GATE) and not pod.terminating]
    return tuple(sorted(held, key=_turn))


def _turn(pod: Pod) -> tuple[int, float, str]:
    created = pod.metadata.creation_timestamp
    return -pod.spec.priority, created.timestamp() if created else 0.0, pod.metadata.name
