"""One of the two autoscalers as a process of this machine, and what it costs. It may not know what it is asked."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from e2e.testbed.paths import BIN

from .plane import FOLDER, ROOT, SYSTEM, Plane, own_address

Name = Literal["ours", "upstream"]
COMMANDS: dict[Name, tuple[str, ...]] = {
    "ours": (sys.executable, "-m", "hasgpu.autoscaler"),
    "upstream": (str(BIN / "kn-autoscaler"),),
}
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Of a process so far."""

    cpu_s: float
    system_cpu_s: float
    rss_mb: float
    peak_rss_mb: float
    threads: int


def spent(before: Cost, after: Cost, took_s: float) -> dict[str, Any]:
    """What a row says of the time between the two."""
    return {
        "cpu_s_per_minute": (after.cpu_s - before.cpu_s) * 60 / took_s,
        "system_cpu_s_per_minute": (after.system_cpu_s - before.system_cpu_s) * 60 / took_s,
        "rss_mb": after.rss_mb,
        "peak_rss_mb": after.peak_rss_mb,
        "threads": after.threads,
    }


class _ToldByUs:
    """One line when the last of all revisions has its first decision."""

    _LINE = re.compile(r"a first decision is made for all of (\d+) revisions")

    def __init__(self) -> None:
        self.decided = 0

    def read(self, line: str) -> None:
        if found := self._LINE.search(line):
            self.decided = int(found[1])


class _ToldByUpstream:
    """A line for each reconcile; -1 is no decision yet."""

    _LINE = re.compile(r"PA scale got=.* desiredPods=\d+ .*\"knative.dev/key\":\"([^\"]+)")

    def __init__(self) -> None:
        self._keys: set[str] = set()

    @property
    def decided(self) -> int:
        return len(self._keys)

    def read(self, line: str) -> None:
        if found := self._LINE.search(line):
            self._keys.add(found[1])


class Candidate:
    """Started at once."""

    def __init__(self, name: Name, plane: Plane) -> None:
        self.name = name
        self.log = FOLDER / f"{name}.log"
        environment = {
            **os.environ,
            "KUBECONFIG": str(plane.kubeconfig),
            "SYSTEM_NAMESPACE": SYSTEM,
            "POD_NAME": f"autoscaler-{name}",
            "POD_IP": own_address(),
            "CONFIG_LOGGING_NAME": "config-logging",
            "CONFIG_OBSERVABILITY_NAME": "config-observability",
            "CLUSTER_DOMAIN": "cluster.local",
            # Not the checkout's import path alone: as in the image, without the tests' packages.
            "PYTHONPATH": str(ROOT / "plugin"),
        }
        self._begun_at = time.monotonic()
        with self.log.open("ab") as log:
            self._log_from = log.tell()
            self._program = subprocess.Popen(
                COMMANDS[name], cwd="/", env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._program.pid

    @property
    def alive(self) -> bool:
        """False where it ended by itself."""
        return self._program.poll() is None

    def stop(self) -> None:
        """SIGTERM, as a kubelet does; the Lease is given back."""
        self._program.terminate()
        try:
            self._program.wait(30)
        except subprocess.TimeoutExpired:
            self._program.kill()
            self._program.wait()

    def until_decided(self, count: int, timeout_s: float) -> float | None:
        """Seconds from its start until so many revisions have a decision, by its log: asking it would cost it time."""
        told = _ToldByUs() if self.name == "ours" else _ToldByUpstream()
        with self.log.open("rb") as log:
            log.seek(self._log_from)
            rest = b""
            while (waited_s := time.monotonic() - self._begun_at) < timeout_s and self.alive:
                *lines, rest = (rest + log.read()).split(b"\n")
                for line in lines:
                    told.read(line.decode())
                if told.decided >= count:
                    return waited_s
                time.sleep(0.05)
        return None

    def cost(self) -> Cost:
        """utime and stime of the process alone, and its memory."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        user, system = int(fields[11]) / _TICKS_PER_S, int(fields[12]) / _TICKS_PER_S
        status = dict(line.split(":", 1) for line in Path(f"/proc/{self.pid}/status").read_text().splitlines())
        return Cost(
            cpu_s=user + system,
            system_cpu_s=system,
            rss_mb=int(status["VmRSS"].split()[0]) / 1024,
            peak_rss_mb=int(status["VmHWM"].split()[0]) / 1024,
            threads=int(status["Threads"]),
        )
