"""The entry point of hasgpu-mps as a process: a daemon for each GPU, restarted, and everything undone at the end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from hasgpu.device.nvml import Nvml
from hasgpu.nodeagent.folders import Folders, GpuFolders

from e2e.built import make
from tests.device.emulated import BUILD, emulated_driver, wait_for
from tests.nodeagent.namespace import in_mount_namespace

ARBITER = BUILD.parents[2] / "plugin" / "shim" / "build" / "hasgpu-arbiter"


def arbiters(of: subprocess.Popen[bytes]) -> int:
    told = subprocess.run(["pgrep", "-P", str(of.pid), "-fc", f"^{ARBITER}"], capture_output=True, text=True).stdout
    return int(told)


def start(base: Path) -> subprocess.Popen[bytes]:
    environment = {
        **os.environ,
        "HASGPU_BASE": str(base),
        "HASGPU_MPS_PATH": str(BUILD),
        "HASGPU_ARBITER": str(ARBITER),
        "LD_LIBRARY_PATH": str(BUILD),
    }
    return subprocess.Popen([sys.executable, "-m", "hasgpu.nodeagent.mps_daemons"], env=environment)


def pid_of(gpu: GpuFolders) -> int:
    return int((gpu.mps / "nvidia-cuda-mps-control.pid").read_text())


def until_restarted(gpu: GpuFolders, before: int) -> None:
    deadline_s = time.monotonic() + 10
    while pid_of(gpu) == before and time.monotonic() < deadline_s:
        time.sleep(0.02)
    assert pid_of(gpu) != before


def check(nvml: Nvml, base: Path) -> None:
    make(ARBITER.parents[1])
    uuids = [device.uuid for device in nvml.devices()]
    gpus = [Folders(base).gpu(uuid) for uuid in uuids]
    process = start(base)
    for gpu in gpus:
        wait_for(gpu.mps / "control_privileged", 10)
    assert [nvml.compute_mode(uuid) for uuid in uuids] == ["exclusive-process"] * 2
    assert arbiters(process) == 2
    first, second = pid_of(gpus[0]), pid_of(gpus[1])
    assert os.readlink(f"/proc/{first}/ns/mnt") != os.readlink(f"/proc/{second}/ns/mnt")
    os.kill(first, signal.SIGKILL)
    until_restarted(gpus[0], first)
    assert pid_of(gpus[1]) == second
    process.terminate()
    assert process.wait(15) == 0
    assert not Path(f"/proc/{second}").exists()
    assert [nvml.compute_mode(uuid) for uuid in uuids] == ["default"] * 2


def test_daemons_are_kept_running_apart_and_the_compute_mode_is_put_back() -> None:
    nvml = emulated_driver()
    with tempfile.TemporaryDirectory() as base:
        in_mount_namespace(lambda: check(nvml, Path(base)))
