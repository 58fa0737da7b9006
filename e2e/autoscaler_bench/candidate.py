"""One of the two autoscalers as a process of this machine, and what it costs. It may not know what it is asked."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from e2e.testbed.paths import BIN

from .plane import FOLDER, METRICS, ROOT, SYSTEM, Plane, own_address

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
            "METRICS_PROMETHEUS_HOST": METRICS.partition(":")[0],
            "METRICS_PROMETHEUS_PORT": METRICS.partition(":")[2],
            "CLUSTER_DOMAIN": "cluster.local",
            # Not the checkout's import path alone: as in the image, without the tests' packages.
            "PYTHONPATH": str(ROOT / "plugin"),
        }
        with self.log.open("ab") as log:
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

    def decided(self) -> int:
        """Revisions that it has decided for since it started, by its own /metrics."""
        try:
            with urllib.request.urlopen(f"http://{METRICS}/metrics", timeout=10) as answer:
                lines = answer.read().decode().splitlines()
        except OSError:
            return 0
        # Upstream shows 0 before it has decided; here no decision is 0.
        return sum(line.startswith("kn_revision_pods_desired{") and not line.endswith(" 0") for line in lines)

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
