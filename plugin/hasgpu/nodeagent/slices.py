"""The slices of this node: the ledger's claims laid into schedule pages, and what is laid. No Kubernetes calls here.

One thread calls ``apply``; others wait and read. A slice leaves the table only once its pod is going, no volume of it
is mounted and no process of it runs (design §5.1): until then the allocator must count it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from hasgpu.cluster.objects import Pod
from hasgpu.decision.timetable import Claim, Objection, to_timetable
from hasgpu.device.pages import SchedulePage
from hasgpu.model.gpu import GpuSlice
from hasgpu.model.keys import PodKey
from hasgpu.model.ledger import parse_slice
from hasgpu.model.report import NodeReport, PodSliceReport
from hasgpu.model.schedule import GpuSchedule, RowPolicy, ScheduleEntry
from hasgpu.model.units import SmPartition, TimeQuota

from .meter import Meter

VALID_FOR_S, RENEW_EVERY_S = 60.0, 10.0
TELL_GONE_FOR_S = 60.0


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a pod stands: live on a GPU, waiting for its slice, or refused for good."""

    state: Literal["live", "waiting", "refused"]
    gpu_uuid: str = ""
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """How an administrator wants time to be shared."""

    window_ns: int = 40_000_000
    policy: RowPolicy = "slots"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeView:
    """What is known from outside when a table is made."""

    tuning: Tuning | None
    """None before it is known: then tables keep the one they have."""
    pods: tuple[Pod, ...] | None
    """None before the first list: then nothing leaves."""
    published: Mapping[str, str]
    """Pods with volumes: UID to ``namespace/name``."""
    running: frozenset[str]
    """Those of the suspects that still have a process."""


class Slices:
    """Claims in, tables out; and the report of what is applied."""

    def __init__(self, node: str, pages: Mapping[str, SchedulePage], meter: Meter, first_revision: int) -> None:
        self._node, self._pages, self._meter = node, pages, meter
        self._applied = {uuid: page.read() for uuid, page in pages.items()}
        self._renewed_s: dict[str, float] = {}
        self._keys: dict[str, PodKey] = {}
        self._standing: dict[str, Standing] = {}
        self._gone: dict[str, tuple[float, PodSliceReport]] = {}
        self._revision = first_revision
        self._changed = threading.Condition()

    def suspects(self, pods: tuple[Pod, ...] | None, published: Mapping[str, str]) -> frozenset[str]:
        """Laid pods that only a running process could still keep."""
        if pods is None:
            return frozenset()
        staying = {pod.metadata.uid for pod in pods if not (pod.terminating or pod.finished)}
        return frozenset(uid for uid in self._laid() if uid not in staying and uid not in published)

    def apply(self, view: NodeView, now_s: float, now_ns: int) -> tuple[Objection, ...]:
        """Lays new tables where they differ; returns what could not be laid as asked."""
        with self._changed:
            self._learn_keys(view)
            claims, standing = self._claims(view)
            laid_before = self._laid()
            objections: list[Objection] = []
            for uuid in self._pages:
                objections += self._lay(uuid, claims.get(uuid, []), view.tuning, now_s, now_ns)
            for objection in objections:
                if objection.laid_percent == 0:
                    standing[objection.pod_uid] = Standing("waiting", why=objection.why)
            self._standing = standing
            laid = self._laid()
            self._remember_gone(laid_before, laid, now_s)
            if {uid: _applied(entry) for uid, (_, entry) in laid.items()} != {
                uid: _applied(entry) for uid, (_, entry) in laid_before.items()
            }:
                self._revision += 1
            self._changed.notify_all()
            return tuple(objections)

    def mark_fault(self, uuid: str, fault: bool) -> None:
        """Tells the sidecars that their GPU or its MPS server is in FAULT, or well again."""
        self._pages[uuid].mark_fault(int(fault))

    def wait_live(self, uid: str, timeout_s: float) -> Standing:
        """The pod's standing once it is live or refused, or what it is when the time is over."""
        with self._changed:
            self._changed.wait_for(lambda: self._stands(uid).state != "waiting", timeout_s)
            return self._stands(uid)

    def wait_newer(self, revision: int, timeout_s: float) -> NodeReport:
        """The report at once where it is another than ``revision``, else when it changes or the time is over."""
        with self._changed:
            self._changed.wait_for(lambda: self._revision != revision, timeout_s)
        return self.report()

    def report(self) -> NodeReport:
        """All laid pods with their counters, and those that went in the last minute."""
        with self._changed:
            pods = [self._pod_report(uuid, entry) for uuid, entry in self._laid().values()]
            gone = [report for _, report in self._gone.values()]
            return NodeReport(node=self._node, revision=self._revision, pods=tuple(pods + gone))

    def schedules(self) -> dict[str, GpuSchedule]:
        """The applied table of each GPU."""
        with self._changed:
            return {uuid: schedule for uuid, schedule in self._applied.items() if schedule}

    def key(self, uid: str) -> PodKey | None:
        """Who a pod is."""
        with self._changed:
            return self._keys.get(uid)

    def _stands(self, uid: str) -> Standing:
        return self._standing.get(uid, Standing("waiting", why="its pod has not been seen on this node yet"))

    def _laid(self) -> dict[str, tuple[str, ScheduleEntry]]:
        return {
            entry.pod_uid: (uuid, entry)
            for uuid, schedule in self._applied.items()
            if schedule
            for entry in schedule.entries
        }

    def _learn_keys(self, view: NodeView) -> None:
        for uid, owner in view.published.items():
            namespace, _, name = owner.partition("/")
            self._keys.setdefault(uid, PodKey(namespace, name, uid))
        for pod in view.pods or ():
            meta = pod.metadata
            self._keys[meta.uid] = PodKey(meta.namespace, meta.name, meta.uid)
        known = {*view.published, *self._laid(), *(pod.metadata.uid for pod in view.pods or ())}
        self._keys = {uid: key for uid, key in self._keys.items() if uid in known}

    def _claims(self, view: NodeView) -> tuple[dict[str, list[Claim]], dict[str, Standing]]:
        """Claims by GPU, and the standing each pod has unless the table objects."""
        claims: dict[str, list[Claim]] = {}
        standing: dict[str, Standing] = {}
        pods = {pod.metadata.uid: pod for pod in view.pods or ()}
        laid = self._laid()
        for uid in [*laid, *(uid for uid in pods if uid not in laid)]:
            kept = self._kept(*laid[uid]) if uid in laid else None
            if uid not in pods:
                wanted = kept if view.pods is None or uid in view.published or uid in view.running else None
            elif (pods[uid].terminating or pods[uid].finished) and uid not in {*view.published, *view.running}:
                wanted = None
            else:
                wanted, standing[uid] = self._wanted(pods[uid], kept)
            if wanted is not None:
                claims.setdefault(wanted.gpu_uuid, []).append(Claim(pod_uid=uid, slice=wanted))
                standing.setdefault(uid, Standing("live", wanted.gpu_uuid))
        return claims, standing

    def _wanted(self, pod: Pod, kept: GpuSlice | None) -> tuple[GpuSlice | None, Standing]:
        """What the ledger says; where it says nothing that makes sense, what is laid stays."""
        try:
            wanted = parse_slice(pod.metadata.annotations)
        except ValueError as error:
            return kept, Standing("live", kept.gpu_uuid) if kept else Standing("refused", why=str(error))
        if wanted is None:
            why = "it has no slice: hasgpu's allocator has not placed it"
            return kept, Standing("live", kept.gpu_uuid) if kept else Standing("refused", why=why)
        if wanted.gpu_uuid not in self._pages:
            return kept, Standing("refused", why=f"its GPU {wanted.gpu_uuid} is not on node {self._node}")
        if kept and (wanted.gpu_uuid, wanted.row) != (kept.gpu_uuid, kept.row):
            # GPU and row never change while a pod lives: its processes are bound to them.
            wanted = replace(wanted, gpu_uuid=kept.gpu_uuid, row=kept.row, sm_partition=kept.sm_partition)
        return wanted, Standing("live", wanted.gpu_uuid)

    def _kept(self, gpu_uuid: str, entry: ScheduleEntry) -> GpuSlice:
        schedule = self._applied[gpu_uuid]
        rows = {row: sm for row, sm, _ in schedule.rows} if schedule else {}
        return GpuSlice(
            gpu_uuid=gpu_uuid,
            row=entry.row,
            sm_partition=SmPartition(rows[entry.row]),
            time_quota=TimeQuota(entry.quota_percent),
            memory_bytes=entry.memory_bytes,
            generation=entry.generation,
        )

    def _lay(
        self, uuid: str, claims: Iterable[Claim], tuning: Tuning | None, now_s: float, now_ns: int
    ) -> tuple[Objection, ...]:
        page, applied = self._pages[uuid], self._applied[uuid]
        if tuning is None:
            tuning = _tuning(applied)
        table = to_timetable(uuid, tuning.window_ns, claims, applied, tuning.policy)
        if table.schedule != applied:
            page.publish(table.schedule, valid_for_s=VALID_FOR_S, now_ns=now_ns)
            self._applied[uuid], self._renewed_s[uuid] = table.schedule, now_s
        elif now_s - self._renewed_s.get(uuid, float("-inf")) >= RENEW_EVERY_S:
            page.renew(valid_for_s=VALID_FOR_S, now_ns=now_ns)
            self._renewed_s[uuid] = now_s
        return table.objections

    def _remember_gone(
        self,
        before: Mapping[str, tuple[str, ScheduleEntry]],
        after: Mapping[str, tuple[str, ScheduleEntry]],
        now_s: float,
    ) -> None:
        for uid, (uuid, entry) in before.items():
            if uid not in after:
                self._gone[uid] = (now_s, replace(self._pod_report(uuid, entry), alive=False, processes=0, waiting=0))
        self._gone = {uid: each for uid, each in self._gone.items() if now_s - each[0] < TELL_GONE_FOR_S}

    def _pod_report(self, gpu_uuid: str, entry: ScheduleEntry) -> PodSliceReport:
        key = self._keys.get(entry.pod_uid, PodKey("", "", entry.pod_uid))
        page = self._meter.read(entry.pod_uid)
        schedule = self._applied[gpu_uuid]
        sm_percent = {row: sm for row, sm, _ in schedule.rows}.get(entry.row, 0) if schedule else 0
        return PodSliceReport(
            pod_uid=entry.pod_uid,
            namespace=key.namespace,
            name=key.name,
            gpu_uuid=gpu_uuid,
            generation=entry.generation,
            quota_percent=entry.quota_percent,
            processes=page.processes if page else 0,
            busy_ns=page.busy_ns if page else 0,
            gated_ns=page.gated_ns if page else 0,
            debt_ns=page.debt_ns if page else 0,
            launches=page.launches if page else 0,
            waiting=page.waiting if page else 0,
            memory_bytes=page.memory_bytes if page else 0,
            sm_count=page.sm_count if page else 0,
            alive=True,
            row=entry.row,
            sm_percent=sm_percent,
            borrowed_ns=page.borrowed_ns if page else 0,
            overrun_ns=page.overrun_ns if page else 0,
            forgiven_ns=page.forgiven_ns if page else 0,
            refused_allocations=page.refused_allocations if page else 0,
            bypass_suspected=page.bypass_suspected if page else 0,
        )


def _tuning(applied: GpuSchedule | None) -> Tuning:
    """That of a table; an empty one has no row to tell the policy."""
    if applied is None:
        return Tuning()
    return Tuning(window_ns=applied.window_ns, policy=applied.rows[0][2] if applied.rows else "slots")


def _applied(entry: ScheduleEntry) -> tuple[int, int]:
    return entry.generation, entry.quota_percent
