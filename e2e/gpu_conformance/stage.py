"""Pages, pods and an MPS daemon around one GPU, without Kubernetes; everything set on the device is put back."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hasgpu.decision.timetable import Claim, to_timetable
from hasgpu.device.mps import control_program, environment
from hasgpu.device.nvml import Device, Nvml
from hasgpu.device.pages import PodPage, PodPageReport, SchedulePage, read_pod_page
from hasgpu.model.gpu import GpuSlice
from hasgpu.model.units import SmPartition, TimeQuota

SHIM = Path(__file__).parents[2] / "plugin" / "shim" / "build" / "libcuda.so.1"
WINDOW_NS = 40_000_000
PODS = ("00000000-0000-4000-8000-00000000000a", "00000000-0000-4000-8000-00000000000b")


class Stage:
    """The node's part for the pods that the checks run."""

    def __init__(self, nvml: Nvml, device: Device, programs: str, *, keep_compute_mode: bool) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="gpu-conformance-", dir="/dev/shm"))
        self.folder.chmod(0o755)
        self._nvml, self.device, self._programs, self._keep = nvml, device, programs, keep_compute_mode
        self._page = SchedulePage.create(str(self.folder / "schedule.v1"), device.uuid)
        self.client = Path(shutil.copy(Path(__file__).with_name("client.py"), self.folder))
        self.shim = Path(shutil.copy(SHIM, self.folder))
        for file in (self.client, self.shim):
            file.chmod(0o755)
        self._mps: dict[str, str] = {}

    def lay(self, quotas: Sequence[int], memory_bytes: int = 4 << 30, sm_percent: int = 40) -> None:
        """One row, a pod for each quota."""
        claims = [
            Claim(
                pod_uid=uid,
                slice=GpuSlice(
                    gpu_uuid=self.device.uuid,
                    row=0,
                    sm_partition=SmPartition(sm_percent),
                    time_quota=TimeQuota(quota),
                    memory_bytes=memory_bytes,
                    generation=1,
                ),
            )
            for uid, quota in zip(PODS, quotas, strict=False)
        ]
        table = to_timetable(self.device.uuid, WINDOW_NS, claims, None).schedule
        self._page.publish(table, valid_for_s=600, now_ns=time.monotonic_ns())

    def start(
        self,
        *task: object,
        pod: str | None = None,
        user: int | None = None,
        sm_percent: int | None = None,
        stdin: int | None = None,
    ) -> subprocess.Popen[str]:
        """The client; as a process of a pod behind the shim, under a user, as an MPS client, where said."""
        told = {name: value for name, value in os.environ.items() if not name.startswith(("LD_PRELOAD", "CUDA_"))}
        told |= {"CUDA_VISIBLE_DEVICES": self.device.uuid} | self._mps
        if sm_percent:
            told["CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"] = str(sm_percent)
        if pod:
            told |= self.behind_shim(pod)
        command = [_interpreter(), str(self.client), *(str(word) for word in task)]
        return subprocess.Popen(command, env=told, stdin=stdin, stdout=subprocess.PIPE, text=True, user=user)

    def behind_shim(self, pod: str) -> dict[str, str]:
        """Environment of a process of the pod."""
        page = self.folder / f"{pod}.page.v1"
        PodPage.create(str(page))
        return {
            "LD_PRELOAD": str(self.shim),
            "HASGPU_POD_UID": pod,
            "HASGPU_PAGE_FILE": str(page),
            "HASGPU_SCHEDULE_FILE": str(self.folder / "schedule.v1"),
        }

    def report(self, pod: str) -> PodPageReport:
        """What the pod's page says."""
        found = read_pod_page(str(self.folder / f"{pod}.page.v1"))
        if not isinstance(found, PodPageReport):
            raise found
        return found

    def memory_used(self) -> int | None:
        """Of the whole GPU, as NVML says."""
        return self._nvml.usage(self.device.uuid).memory_used_bytes

    @contextmanager
    def mps(self) -> Iterator[None]:
        """A multi-user MPS daemon of the GPU; the compute mode as the product sets it, and afterwards as it was."""
        mode = self._nvml.compute_mode(self.device.uuid)
        pipes = self.folder / "mps"
        pipes.mkdir(mode=0o755)
        told = environment(pipes, os.environ)
        if not self._keep:
            self._nvml.set_compute_mode(self.device.uuid, "exclusive-process")
        command = [control_program(self._programs), "-f", "-multiuser-server"]
        daemon = subprocess.Popen(command, env=told | {"CUDA_VISIBLE_DEVICES": self.device.uuid})
        self._mps = {"CUDA_MPS_PIPE_DIRECTORY": str(pipes)}
        try:
            deadline_s = time.monotonic() + 20
            while not any(pipes.iterdir()) and time.monotonic() < deadline_s:
                time.sleep(0.1)
            yield
        finally:
            self._mps = {}
            daemon.terminate()
            daemon.wait(20)
            if not self._keep:
                self._nvml.set_compute_mode(self.device.uuid, mode)
            shutil.rmtree(pipes, ignore_errors=True)

    def close(self) -> None:
        """Leaves nothing behind."""
        self._page.close()
        shutil.rmtree(self.folder)


def _interpreter() -> str:
    """One that every user may run: a virtual environment or a home is closed to others."""
    return shutil.which("python3", path="/usr/bin:/usr/local/bin") or sys.executable


def answer(process: subprocess.Popen[str]) -> dict[str, Any]:
    """What a client printed; RuntimeError with its error where it failed."""
    out, _ = process.communicate(timeout=120)
    lines = out.splitlines()
    found: dict[str, Any] = json.loads(lines[-1]) if lines else {"error": f"exit code {process.returncode}"}
    if "error" in found:
        raise RuntimeError(f"client failed: {found}")
    return found
