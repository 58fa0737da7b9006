"""How the GPUs and their MPS daemons are: the conditions of a GPU. Starts MPS servers, never daemons."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from dataclasses import replace

from hasgpu.cluster.custom import HEALTHY, MPS_READY
from hasgpu.device.errors import DeviceError, MpsUnreachable, Unsupported
from hasgpu.device.mps import MpsControl
from hasgpu.device.nvml import Device, Nvml, Usage, XidEvent

from .gpu_objects import Finding

log = logging.getLogger(__name__)

ONLY_MPS = "OnlyMPS"
"""Condition: nobody uses the GPU past MPS, whose limits would not hold for them."""
FAULT = "Fault"
"""Reason: a client's fatal fault broke the contexts of all clients of the MPS server."""
_EVENT_TIMEOUT_MS = 1000


def in_fault(findings: Mapping[str, Finding]) -> bool:
    """True where what runs on the GPU now is broken, not only where nothing new should come."""
    return any(finding.reason in (FAULT, "GpuLost") for finding in findings.values())


def _only_mps(foreign: tuple[int, ...]) -> Finding:
    if not foreign:
        return Finding(holds=True, reason="OnlyMPS")
    said = f"processes {', '.join(map(str, foreign))} use the GPU past MPS: no limit holds for them"
    return Finding(holds=False, reason="ForeignProcesses", message=said[:1024])


class Health:
    """Asks on ``check`` and listens for faults in a thread of its own."""

    def __init__(self, nvml: Nvml, devices: tuple[Device, ...], controls: Mapping[str, MpsControl]) -> None:
        self._nvml, self._devices, self._controls = nvml, devices, controls
        self._faults: dict[str, XidEvent] = {}
        self._xids: dict[tuple[str, int], int] = {}
        self._stopping = threading.Event()

    def start(self) -> None:
        """Begins to listen for faults, where the GPUs report any."""
        try:
            self._nvml.watch_health(tuple(device.uuid for device in self._devices))
        except Unsupported as error:
            log.warning("GPUs report no Xid events: %s", error)
            return
        threading.Thread(target=self._listen, name="xid", daemon=True).start()

    def stop(self) -> None:
        """Ends the listening within a second."""
        self._stopping.set()

    def check(self, device: Device) -> tuple[dict[str, Finding], Usage | None]:
        """The conditions of one GPU now, and its usage where it could be asked."""
        usage: Usage | None = None
        try:
            usage = self._nvml.usage(device.uuid)
            healthy = self._healthy(device)
        except DeviceError as error:
            healthy = Finding(holds=False, reason="GpuLost", message=str(error))
        mps, servers = self._mps(device)
        findings = {HEALTHY: healthy, MPS_READY: mps}
        if usage is not None and servers:  # the server itself is a process on the GPU
            foreign = tuple(pid for pid in usage.foreign_processes if pid not in servers)
            usage = replace(usage, foreign_processes=foreign)
            findings[ONLY_MPS] = _only_mps(foreign)
        return findings, usage

    def xids(self) -> dict[tuple[str, int], int]:
        """Faults seen, by GPU and Xid."""
        return dict(self._xids)

    def _healthy(self, device: Device) -> Finding:
        fault = self._faults.get(device.uuid)
        if fault is not None:
            return Finding(holds=False, reason="Xid", message=f"the driver reported Xid {fault.xid}")
        if device.mig:
            return Finding(holds=False, reason="MigEnabled", message="MIG is on: hasgpu shares whole GPUs only")
        return Finding(holds=True, reason="Healthy")

    def _mps(self, device: Device) -> tuple[Finding, tuple[int, ...]]:
        """The condition, and the server's processes where they are known."""
        control = self._controls[device.uuid]
        try:
            servers = control.servers()
            if not servers:
                control.start_server()
                servers = control.servers()
            states = {server: control.server_state(server) for server in servers}
        except MpsUnreachable as error:
            return Finding(holds=False, reason="DaemonUnreachable", message=str(error)), ()
        if "FAULT" in states.values():
            said = "a client took the MPS server down; it waits for the others"
            return Finding(holds=False, reason=FAULT, message=said), servers
        if not states:
            return Finding(holds=False, reason="NoServer", message="the MPS daemon started no server"), ()
        return Finding(holds=True, reason="Ready"), servers

    def _listen(self) -> None:
        while not self._stopping.is_set():
            try:
                event = self._nvml.next_event(_EVENT_TIMEOUT_MS)
            except DeviceError as error:
                log.error("no more Xid events: %s", error)
                return
            if event is not None:
                log.warning("GPU %s: Xid %d", event.uuid, event.xid)
                self._xids[event.uuid, event.xid] = self._xids.get((event.uuid, event.xid), 0) + 1
                if event.critical:
                    self._faults[event.uuid] = event
