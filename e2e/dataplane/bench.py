"""Real processes through the shim as built, before the emulated driver: a GPU per test, pods and their pages."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hasgpu.decision.timetable import Claim, to_timetable
from hasgpu.device.pages import PodPage, PodPageReport, SchedulePage, read_pod_page
from hasgpu.model.gpu import GpuSlice
from hasgpu.model.schedule import GpuSchedule, RowPolicy, ScheduleEntry, Slot
from hasgpu.model.units import SmPartition, TimeQuota

from e2e.built import make
from e2e.emulated_gpu.kernel_log import KernelLog

ROOT = Path(__file__).parents[2]
SHIM = ROOT / "plugin" / "shim" / "build" / "libcuda.so.1"
UNNUMBERED = SHIM.with_name("libcuda.so")
"""Preloaded beside the shim: what ``libcuda.so`` opens then."""
DOUBLE = ROOT / "e2e" / "emulated_gpu" / "build"
PROGRAMS = ROOT / "e2e" / "dataplane" / "build"
STEPPING_CLOCK = PROGRAMS / "stepping_clock.so"
"""Preloaded: sets the process's day clock forward and back again and again."""
WINDOW_NS = 40_000_000
TOLERANCE = 0.03
"""Of less than a second of measuring on a busy machine; a benchmark measures 10 s."""


def entry(uid: str, start: int, end: int, generation: int = 1, memory_bytes: int = 1 << 30) -> ScheduleEntry:
    """A pod that owns ``start``..``end`` percent of every window of row 0."""
    percent = WINDOW_NS // 100
    slots = (Slot(start_ns=start * percent, end_ns=end * percent),) if end > start else ()
    return ScheduleEntry(
        pod_uid=uid,
        row=0,
        quota_percent=end - start,
        generation=generation,
        windows=1,
        phase=0,
        slots=slots,
        memory_bytes=memory_bytes,
    )


def build() -> None:
    """Builds what the bench runs where it is not up to date."""
    for folder in (ROOT / "plugin" / "shim", ROOT / "e2e" / "emulated_gpu", ROOT / "e2e" / "dataplane"):
        make(folder)


class Bench:
    """One emulated GPU, its schedule page and the pods on it. Lives on tmpfs, as the pages do on a node."""

    def __init__(self, *, ahead: bool = False) -> None:
        """``ahead``: clients run before everything else on the machine (SCHED_RR), so that only they are measured."""
        self.ahead = ["chrt", "--rr", "1"] if ahead else []
        self.folder = folder = Path(tempfile.mkdtemp(prefix="hasgpu-bench-", dir="/dev/shm"))
        self.client = PROGRAMS / "client"
        self.double = DOUBLE
        self.environment = {
            "HASGPU_EMULATED_DIR": str(folder / "emulated"),
            "CUDA_MPS_PIPE_DIRECTORY": str(folder),
            "PATH": os.environ["PATH"],
        }
        create = [DOUBLE / "emulated-gpu", "create", "--gpus", "1", "--log-entries", "262144", "--lanes", "client"]
        create += ["--mps-clients", "60"]
        subprocess.run(create, check=True, env=self.environment)
        self.log = KernelLog(0, folder / "emulated")
        self.page = SchedulePage.create(str(folder / "schedule.v1"), self.log.uuid)
        self.children: list[subprocess.Popen[str]] = []
        self.mps: subprocess.Popen[str] | None = None

    def start_mps(self) -> subprocess.Popen[str]:
        """The MPS daemon of the GPU, once it takes clients."""
        environment = self.environment | {"CUDA_MPS_LOG_DIRECTORY": str(self.folder)}
        daemon = subprocess.Popen([DOUBLE / "nvidia-cuda-mps-control", "-f"], env=environment, text=True)
        self.children.append(daemon)
        self.wait_for((self.folder / "control_privileged").exists)
        self.mps = daemon
        return daemon

    def stop_mps(self) -> None:
        """Kills the daemon, as the kernel would for want of memory."""
        assert self.mps
        self.mps.kill()
        self.mps.wait()
        for name in ("control", "control_privileged"):
            (self.folder / name).unlink()

    @staticmethod
    def wait_for(condition: Callable[[], object], within_s: float = 5) -> None:
        """Polls a condition of other processes."""
        deadline = time.monotonic() + within_s
        while not condition():
            assert time.monotonic() < deadline, "waited in vain"
            time.sleep(0.005)

    def share(self, uid: str, seconds: float, after_s: float = 0.15) -> float:
        """The part of the next ``seconds`` in which the pod's kernels ran, by the double's own log."""
        time.sleep(after_s)
        start_ns = time.monotonic_ns()
        time.sleep(seconds)
        return self.log.shares(start_ns, time.monotonic_ns()).get(uid, 0.0)

    def publish(self, *entries: ScheduleEntry, policy: RowPolicy = "slots") -> int:
        """Lay a table of row 0; returns when it takes effect."""
        table = GpuSchedule(
            gpu_uuid=self.log.uuid, window_ns=WINDOW_NS, rows=((0, 100, policy),), entries=tuple(entries)
        )
        return self.page.publish(table, valid_for_s=600, now_ns=time.monotonic_ns())

    def lay(
        self,
        quotas: dict[str, int],
        generation: int = 1,
        policy: RowPolicy = "slots",
        sm: int = 40,
        rows: dict[str, int] | None = None,
    ) -> int:
        """The table that the node agent makes of these quotas, in row 0 unless said; returns when it takes effect."""
        claims = [
            Claim(
                pod_uid=uid,
                slice=GpuSlice(
                    gpu_uuid=self.log.uuid,
                    row=(rows or {}).get(uid, 0),
                    sm_partition=SmPartition(sm),
                    time_quota=TimeQuota(quota),
                    memory_bytes=1 << 30,
                    generation=generation,
                ),
            )
            for uid, quota in quotas.items()
        ]
        table = to_timetable(self.log.uuid, WINDOW_NS, claims, None, policy).schedule
        return self.page.publish(table, valid_for_s=600, now_ns=time.monotonic_ns())

    def check_share(self, uid: str, expected: float) -> None:
        """Never more than the quota; and the quota, as far as a busy machine lets the client run: best of three."""
        for _ in range(3):
            found = self.share(uid, 0.7)
            assert found < expected + TOLERANCE
            if found > expected - TOLERANCE:
                return
        raise AssertionError(f"{uid} got {found:.1%} of {expected:.0%}")

    def start_arbiter(self) -> subprocess.Popen[str]:
        """Lends idle time in rows of policy ``borrow``."""
        words = [*self.ahead, str(SHIM.with_name("hasgpu-arbiter")), self.page.path, str(self.folder / "pods")]
        self.children.append(arbiter := subprocess.Popen(words, text=True))
        return arbiter

    def page_of(self, uid: str) -> Path:
        """Where the node agent has it."""
        return self.folder / "pods" / uid / "page" / "page.v1"

    def report(self, uid: str) -> PodPageReport:
        found = read_pod_page(str(self.page_of(uid)))
        assert isinstance(found, PodPageReport)
        return found

    def start(self, uid: str | None, *command: object, stdin: int | None = None, **extra: str) -> subprocess.Popen[str]:
        """A process of pod ``uid``, behind the shim; ``None``: of no pod."""
        environment = self.environment | {
            "LD_PRELOAD": str(SHIM),
            "HASGPU_REAL_LIBCUDA": str(DOUBLE / "libcuda.so.1"),
            "HASGPU_SCHEDULE_FILE": str(self.folder / "schedule.v1"),
        }
        if uid:
            self.page_of(uid).parent.mkdir(parents=True, exist_ok=True)
            PodPage.create(str(self.page_of(uid)))
            environment |= {
                "HASGPU_POD_UID": uid,
                "HASGPU_EMULATED_POD": uid,
                "HASGPU_PAGE_FILE": str(self.page_of(uid)),
            }
        words = [*self.ahead, *(str(word) for word in command)]
        child = subprocess.Popen(words, env=environment | extra, stdin=stdin, stdout=subprocess.PIPE, text=True)
        self.children.append(child)
        return child

    def run(
        self, uid: str | None, mode: str, kernel_us: int, seconds: float, *more: object, **extra: str
    ) -> subprocess.Popen[str]:
        """The test client, once it is ready to launch."""
        child = self.start(uid, self.client, mode, kernel_us, seconds, *more, **extra)
        assert child.stdout
        assert json.loads(child.stdout.readline()) == {"ready": True}
        return child

    def start_python(
        self, uid: str | None, program: str, before: str = "", stdin: int | None = None, **extra: str
    ) -> subprocess.Popen[str]:
        """A Python program that calls the driver by ctypes as ``cuda``; it prints what it leaves in ``answer``."""
        text = (
            "import ctypes, json\n"
            "cuda = ctypes.CDLL('libcuda.so.1')\n"
            "u64 = ctypes.c_uint64\n"
            "def open_context():\n"
            "    context = ctypes.c_void_p()\n"
            "    assert cuda.cuInit(0) == 0\n"
            "    assert cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0) == 0\n"
            "    assert cuda.cuCtxSetCurrent(context) == 0\n"
            f"{before}\n{textwrap.dedent(program)}\nprint(json.dumps(answer))"
        )
        return self.start(uid, sys.executable, "-c", text, stdin=stdin, **extra)

    def python(self, uid: str | None, program: str, before: str = "", **extra: str) -> Any:
        """The value that such a program leaves in ``answer``."""
        out, _ = self.start_python(uid, program, before, **extra).communicate(timeout=20)
        return json.loads(out)

    def result(self, child: subprocess.Popen[str]) -> dict[str, Any]:
        out, _ = child.communicate(timeout=20)
        answer = json.loads(out.splitlines()[-1])
        assert isinstance(answer, dict)
        return answer

    def close(self) -> None:
        for child in self.children:
            child.kill()
            child.wait()
        self.page.close()
        self.log.close()
        shutil.rmtree(self.folder)
