"""The agent of one GPU node, put together: what runs, in which thread, in which order it starts and ends.

Threads: the table loop (the only writer of schedule pages), the status loop (NVML, MPS, GPU objects), the pod
reflector, gRPC, HTTPS, Xid events. Pods follow the pages; while the agent is away they go on by the last table.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from hasgpu.cluster.custom import MPS_READY
from hasgpu.cluster.errors import ClusterError
from hasgpu.cluster.events import EventRecorder, Regarding
from hasgpu.cluster.objects import ConfigMap, Pod
from hasgpu.cluster.paths import CONFIG_MAPS, PODS, collection
from hasgpu.cluster.reflector import EventKind, Reflector
from hasgpu.cluster.session import Session
from hasgpu.decision.timetable import Objection
from hasgpu.device.mps import MpsControl, control_program
from hasgpu.device.nvml import Device, Nvml, Usage
from hasgpu.device.pages import SchedulePage, read_pod_page
from hasgpu.model.annotations import SETTINGS_CONFIG_MAP
from hasgpu.settings.hasgpu import parse_hasgpu
from hasgpu.settings.store import Setting

from .api import Api, Certificates
from .csi import CsiDriver
from .exposition import Known, to_text
from .folders import Folders
from .gpu_objects import WITHIN_LEDGER, GpuObject, Shares, disown, ledger_finding
from .health import FAULT, Health, in_fault
from .meter import Meter
from .options import Options
from .processes import beyond_told, pods_with_processes
from .recovery import GRACE_S, Ended, Recovery
from .slices import NodeView, Slices, Tuning
from .volumes import Volumes, install_library

log = logging.getLogger(__name__)

_TABLE_EVERY_S, _STATUS_EVERY_S = 1.0, 2.0
# A table loop that has not come round for this long is stuck: the kubelet shall restart the agent.
_STUCK_AFTER_S = 30.0


class Agent:
    """Everything the DaemonSet's pod does."""

    def __init__(self, options: Options, session: Session, nvml: Nvml) -> None:
        self._options, self._session = options, session
        folders = Folders(options.base)
        self._devices = nvml.devices()
        pages = {device.uuid: _open_page(folders, device, options) for device in self._devices}
        self._meter = Meter(folders)
        self._slices = Slices(options.node, pages, self._meter, time.time_ns() // 1_000_000)
        self._volumes = Volumes(folders, install_library(options.library, folders))
        self._pods = Reflector(
            session, collection(PODS), Pod, field_selector=f"spec.nodeName={options.node}", on_event=self._pod_changed
        )
        self._config_maps = Reflector(
            session,
            collection(CONFIG_MAPS, options.settings_namespace),
            ConfigMap,
            field_selector=f"metadata.name={SETTINGS_CONFIG_MAP}",
            on_event=self._settings_changed,
        )
        self._settings = Setting(parse_hasgpu, key_by_key=True)
        self._events = EventRecorder(session, "hasgpu-node")
        host = f"[{options.pod_ip}]" if ":" in options.pod_ip else options.pod_ip
        address = f"{host}:{options.port}"
        self._objects = {device.uuid: GpuObject(session, options.node, device, address) for device in self._devices}
        program = control_program(options.mps_path)
        controls = {
            device.uuid: MpsControl(pipe_directory=folders.gpu(device.uuid).mps, program=program)
            for device in self._devices
        }
        self._health = Health(nvml, self._devices, controls)
        self._recovery = Recovery(lambda uid: read_pod_page(str(folders.pod(uid).page)), controls)
        self._usages: dict[str, Usage] = {}
        self._disowned = False
        self._csi = CsiDriver(options.node, options.kubelet, self._volumes, self._slices)
        self._api = Api(
            options.port, Certificates(options.tls), self._slices.wait_newer, self._metrics, self._keeping_up
        )
        self._wake, self._stopping = threading.Event(), threading.Event()
        self._objected: frozenset[Objection] = frozenset()
        self._crowded: frozenset[str] = frozenset()
        self._came_round_s = time.monotonic()

    def run(self) -> None:
        """Until ``stop``. Tables are renewed before anything else, so that a restart leaves no gap."""
        self._lay()
        self._config_maps.start()
        self._pods.start()
        self._events.start()
        self._health.start()
        status = threading.Thread(target=self._loop, args=(self._tell_status, _STATUS_EVERY_S, None), name="status")
        status.start()
        self._csi.start()
        self._api.start()
        log.info("agent of node %s with %d GPUs", self._options.node, len(self._devices))
        self._loop(self._lay, _TABLE_EVERY_S, self._wake)
        self._csi.stop()
        self._api.stop()
        self._health.stop()
        self._pods.stop()
        self._config_maps.stop()
        self._events.stop()
        status.join(5.0)

    def stop(self) -> None:
        """Ends ``run``; may be called from a signal handler."""
        self._stopping.set()
        self._wake.set()

    def _loop(self, step: Callable[[], None], every_s: float, wake: threading.Event | None) -> None:
        """Steps until stopped; a step that fails is told and tried again, for the pods' sake."""
        while not self._stopping.is_set():
            try:
                step()
            except Exception:
                # The loop's edge: one bad object must not end the upkeep of all tables.
                log.exception("step failed")
            (wake or self._stopping).wait(every_s)
            if wake is not None:
                wake.clear()

    def _pod_changed(self, _: EventKind, old: Pod | None, new: Pod | None) -> None:
        if old is None or new is None or _concerns(old) != _concerns(new):
            self._wake.set()

    def _settings_changed(self, _: EventKind, __: ConfigMap | None, new: ConfigMap | None) -> None:
        # One that was deleted is about to be made anew: the autoscaler keeps its settings as well.
        if new is not None and self._settings.put(new.data):
            self._wake.set()

    def _tuning(self) -> Tuning | None:
        if not self._config_maps.synced:
            return None
        settings = self._settings.value
        return Tuning(window_ns=round(settings.window_s * 1e9), policy=settings.row_policy)

    def _lay(self) -> None:
        """One table of each GPU from what is known now."""
        pods = self._pods.snapshot() if self._pods.synced else None
        published = self._volumes.published()
        running = pods_with_processes(self._slices.suspects(pods, published))
        view = NodeView(tuning=self._tuning(), pods=pods, published=published, running=running)
        objections = frozenset(self._slices.apply(view, time.monotonic(), time.monotonic_ns()))
        for objection in objections - self._objected:
            self._tell_objection(objection)
        self._objected = objections
        self._came_round_s = time.monotonic()

    def _tell_objection(self, objection: Objection) -> None:
        said = f"row {objection.row}: {objection.asked_percent}% asked, {objection.laid_percent}% laid: {objection.why}"
        self._warn(objection.pod_uid, "SliceNotLaid", said)

    def _tell_ended(self, ended: Ended) -> None:
        said = f"{ended.why} for {GRACE_S:.0f} s: its {len(ended.pids)} GPU processes were ended, to start anew"
        self._warn(ended.pod_uid, "GpuContextLost", said)

    def _warn(self, uid: str, reason: str, said: str) -> None:
        key = self._slices.key(uid)
        log.warning("pod %s %s", key or uid, said)
        if key is not None:
            regarding = Regarding(api_version="v1", kind="Pod", namespace=key.namespace, name=key.name, uid=key.uid)
            self._events.event(regarding, "Warning", reason, said)

    def _tell_status(self) -> None:
        """Samples the pods' pages, keeps the GPU objects, and ends who is broken for good."""
        schedules = self._slices.schedules()
        gpu_of = {entry.pod_uid: uuid for uuid, schedule in schedules.items() for entry in schedule.entries}
        now_s = time.monotonic()
        self._meter.sample(gpu_of, now_s)
        busy = {uid: self._meter.busy_fraction(uid) for uid in gpu_of}
        self._disown_missing()
        faulted = set()
        for device in self._devices:
            findings, usage = self._health.check(device)
            objected = [each for each in self._objected if each.gpu_uuid == device.uuid]
            self._slices.mark_fault(device.uuid, in_fault(findings))
            if findings[MPS_READY].reason == FAULT:
                faulted.add(device.uuid)
            findings[WITHIN_LEDGER] = ledger_finding(objected)
            if usage is not None:
                self._usages[device.uuid] = usage
            try:
                self._objects[device.uuid].limit_clients(self._settings.value.mps_client_limit)
                shares = Shares.of(schedules.get(device.uuid), busy)
                self._objects[device.uuid].tell(findings, shares, time.time())
            except ClusterError as error:
                log.warning("GPU %s not told: %s", device.uuid, error)
        for ended in self._recovery.step(gpu_of, faulted, now_s):
            self._tell_ended(ended)
        self._tell_crowded()

    def _tell_crowded(self) -> None:
        pods = self._pods.snapshot() if self._pods.synced else ()
        annotations = {pod.metadata.uid: pod.metadata.annotations for pod in pods}
        crowded = beyond_told(self._slices.report().pods, annotations)
        for uid in crowded.keys() - self._crowded:
            self._warn(uid, "TooManyGpuProcesses", crowded[uid])
        self._crowded = frozenset(crowded)

    def _disown_missing(self) -> None:
        """Once, as soon as the API server can be reached."""
        if self._disowned:
            return
        try:
            disown(self._session, self._options.node, tuple(self._objects), time.time())
            self._disowned = True
        except ClusterError as error:
            log.warning("GPU objects not listed: %s", error)

    def _metrics(self) -> str:
        report = self._slices.report()
        return to_text(
            Known(
                devices=self._devices,
                usages=dict(self._usages),
                xids=self._health.xids(),
                schedules=self._slices.schedules(),
                report=report,
                busy={pod.pod_uid: self._meter.busy_fraction(pod.pod_uid) for pod in report.pods},
            )
        )

    def _keeping_up(self) -> bool:
        return time.monotonic() - self._came_round_s < _STUCK_AFTER_S


def _open_page(folders: Folders, device: Device, options: Options) -> SchedulePage:
    gpu = folders.gpu(device.uuid)
    for folder, mode in ((gpu.schedule, 0o755), (gpu.mps, 0o755), (gpu.log, 0o755), (gpu.shm, 0o1777)):
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(mode)
    page = SchedulePage.create(str(gpu.schedule_page), device.uuid, expired=options.policy_expired)
    page.describe(  # sidecars compare what their pod got with it
        sm_count=device.sm_count, sm_step=device.sm_step, pinned_spare_mib=options.pinned_spare_mib
    )
    return page


def _concerns(pod: Pod) -> tuple[object, ...]:
    """The part of a pod that a table depends on."""
    return pod.metadata.uid, pod.metadata.annotations, pod.terminating, pod.finished
