"""Entry point of DaemonSet hasgpu-mps: one MPS control daemon and one arbiter a GPU, started, restarted, undone.

They have a pod of their own so that a killed agent takes none of them along (design §5.7). A daemon has the GPU's
folder as pipe directory and as /dev/shm, as its clients do; an arbiter lends idle time. Knows no Kubernetes.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from hasgpu.device.errors import DeviceError, Unsupported
from hasgpu.device.mps import control_program, environment
from hasgpu.device.nvml import ComputeMode, Nvml

from .folders import Folders, GpuFolders

log = logging.getLogger(__name__)

_RESTART_FIRST_S, _RESTART_CAP_S, _STEADY_AFTER_S = 0.2, 5.0, 30.0
_EXCLUSIVE: ComputeMode = "exclusive-process"
# A mount namespace of its own gives every daemon its own /dev/shm.
_IN_OWN_SHM = 'mount --bind "$1" /dev/shm && shift && exec "$@"'


class Daemon:
    """A program that a thread keeps running."""

    def __init__(
        self, name: str, command: Sequence[str], environment: Mapping[str, str], stopping: threading.Event
    ) -> None:
        self._name, self._command, self._environment, self._stopping = name, command, environment, stopping
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._keep, name=name)

    def start(self) -> None:
        """Begins."""
        self._thread.start()

    def stop(self) -> None:
        """Ends the program; ``stopping`` must be set before."""
        if self._process is not None:
            self._process.terminate()
        self._thread.join(10.0)

    def _keep(self) -> None:
        delay_s = _RESTART_FIRST_S
        while not self._stopping.is_set():
            log.info("%s: starting", self._name)
            started_s = time.monotonic()
            self._process = subprocess.Popen(self._command, env=self._environment, stdin=subprocess.DEVNULL)
            code = self._process.wait()
            steady = time.monotonic() - started_s > _STEADY_AFTER_S
            delay_s = _RESTART_FIRST_S if steady else min(_RESTART_CAP_S, 2 * delay_s)
            if not self._stopping.is_set():
                log.error("%s: ended with %d; again in %.1f s", self._name, code, delay_s)
                self._stopping.wait(delay_s)


def mps_daemon(uuid: str, folders: GpuFolders, program: str, stopping: threading.Event) -> Daemon:
    """The MPS daemon of one GPU; makes its folders."""
    for folder, mode in ((folders.mps, 0o755), (folders.log, 0o755), (folders.shm, 0o1777)):
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(mode)
    # Pods run under users of their own: one server must take them all.
    command = [program, "-f", "-multiuser-server"]
    own_shm = ["unshare", "--mount", "--propagation", "private", "sh", "-c", _IN_OWN_SHM, "sh", str(folders.shm)]
    told = {**environment(folders.mps, os.environ), "CUDA_VISIBLE_DEVICES": uuid}
    return Daemon(f"GPU {uuid}: MPS daemon", [*own_shm, *command], told, stopping)


def arbiter(uuid: str, folders: Folders, program: str, stopping: threading.Event) -> Daemon:
    """The arbiter of one GPU; it waits for the schedule page by itself."""
    command = [program, str(folders.gpu(uuid).schedule_page), str(folders.pods)]
    return Daemon(f"GPU {uuid}: arbiter", command, os.environ, stopping)


def claim(nvml: Nvml, uuid: str, record: Path) -> None:
    """Lets nobody open the GPU but through MPS; remembers the mode found, unless a killed predecessor did."""
    try:
        found = nvml.compute_mode(uuid)
        if not record.exists():
            record.write_text(found)
        if found != _EXCLUSIVE:
            nvml.set_compute_mode(uuid, _EXCLUSIVE)
    except Unsupported as error:
        log.warning("GPU %s: compute mode stays: %s", uuid, error)


def restore(nvml: Nvml, uuid: str, record: Path) -> None:
    """Puts the compute mode back."""
    if not record.exists():
        return
    mode = record.read_text()
    try:
        for known in ("default", "exclusive-thread", "prohibited", "exclusive-process"):
            if known == mode:
                nvml.set_compute_mode(uuid, known)
        record.unlink()
    except DeviceError as error:
        log.error("GPU %s: compute mode %s not restored: %s", uuid, mode, error)


def main() -> int:
    """Runs until SIGTERM."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        nvml = Nvml()
        devices, program = nvml.devices(), control_program(os.environ.get("HASGPU_MPS_PATH", ""))
    except DeviceError as error:
        print(f"hasgpu-mps: {error}", file=sys.stderr)
        return 1
    folders = Folders(Path(os.environ.get("HASGPU_BASE", "/run/hasgpu")))
    exclusive = os.environ.get("HASGPU_KEEP_COMPUTE_MODE", "") != "true"
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    daemons = []
    lender = os.environ.get("HASGPU_ARBITER", "/opt/hasgpu/bin/hasgpu-arbiter")
    for device in devices:
        gpu = folders.gpu(device.uuid)
        gpu.root.mkdir(parents=True, exist_ok=True)
        if exclusive:
            claim(nvml, device.uuid, gpu.compute_mode)
        daemons.append(mps_daemon(device.uuid, gpu, program, stopping))
        if Path(lender).exists():
            daemons.append(arbiter(device.uuid, folders, lender, stopping))
        else:
            log.warning("%s is not there: no row's idle time will be lent", lender)
    for daemon in daemons:
        daemon.start()
    stopping.wait()
    for daemon in daemons:
        daemon.stop()
    for device in devices:
        restore(nvml, device.uuid, folders.gpu(device.uuid).compute_mode)
    nvml.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
