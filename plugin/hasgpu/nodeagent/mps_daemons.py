"""Entry point of DaemonSet hasgpu-mps: one MPS control daemon a GPU, started, restarted and, at the end, undone.

The daemons have a pod of their own so that a killed agent takes none of them along (design §5.7). Each has the GPU's
folder as pipe directory and as /dev/shm, as its clients do. Knows no Kubernetes.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
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
    """The daemon of one GPU, kept running by a thread."""

    def __init__(self, uuid: str, folders: GpuFolders, program: str, stopping: threading.Event) -> None:
        self._uuid, self._folders, self._program, self._stopping = uuid, folders, program, stopping
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._keep, name=f"mps {uuid}")

    def start(self) -> None:
        """Makes the folders and begins."""
        for folder, mode in ((self._folders.mps, 0o755), (self._folders.log, 0o755), (self._folders.shm, 0o1777)):
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(mode)
        self._thread.start()

    def stop(self) -> None:
        """Ends the daemon; ``stopping`` must be set before."""
        if self._process is not None:
            self._process.terminate()
        self._thread.join(10.0)

    def _keep(self) -> None:
        delay_s = _RESTART_FIRST_S
        while not self._stopping.is_set():
            log.info("GPU %s: starting its MPS daemon", self._uuid)
            started_s = time.monotonic()
            self._process = subprocess.Popen(self._command(), env=self._environment(), stdin=subprocess.DEVNULL)
            code = self._process.wait()
            steady = time.monotonic() - started_s > _STEADY_AFTER_S
            delay_s = _RESTART_FIRST_S if steady else min(_RESTART_CAP_S, 2 * delay_s)
            if not self._stopping.is_set():
                log.error("GPU %s: its MPS daemon ended with %d; again in %.1f s", self._uuid, code, delay_s)
                self._stopping.wait(delay_s)

    def _command(self) -> list[str]:
        # Pods run under users of their own: one server must take them all.
        program = [self._program, "-f", "-multiuser-server"]
        own_shm = ["unshare", "--mount", "--propagation", "private", "sh", "-c", _IN_OWN_SHM, "sh"]
        return [*own_shm, str(self._folders.shm), *program]

    def _environment(self) -> dict[str, str]:
        return {**environment(self._folders.mps, os.environ), "CUDA_VISIBLE_DEVICES": self._uuid}


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
    for device in devices:
        gpu = folders.gpu(device.uuid)
        daemon = Daemon(device.uuid, gpu, program, stopping)
        gpu.root.mkdir(parents=True, exist_ok=True)
        if exclusive:
            claim(nvml, device.uuid, gpu.compute_mode)
        daemon.start()
        daemons.append(daemon)
    stopping.wait()
    for daemon in daemons:
        daemon.stop()
    for device in devices:
        restore(nvml, device.uuid, folders.gpu(device.uuid).compute_mode)
    nvml.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
