"""One pod of the function under test: its server behind the shim, on an emulated GPU and a schedule of its own."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from e2e.dataplane.bench import ROOT, Bench

from .models import Drawn

UID = "00000000-0000-4000-8000-000000000001"
SERVER = ROOT / "e2e" / "functions" / "inference"
START_WITHIN_S = 60
EARLIER = ["nice", "-n", "-15"]
"""What starts comes before the machine's other programs, but never before a function that is being measured."""


class Pod:
    """Ready once constructed; ``close`` leaves nothing behind."""

    def __init__(self, model: Drawn, sm_percent: int, quota_percent: int, batch_size: int = 1) -> None:
        self._bench = Bench()
        self._bench.ahead = EARLIER
        try:
            self._start(model, sm_percent, quota_percent, batch_size)
        except BaseException:
            self._bench.close()
            raise

    def _start(self, model: Drawn, sm_percent: int, quota_percent: int, batch_size: int) -> None:
        self._bench.start_mps()
        self._bench.lay({UID: quota_percent}, sm=sm_percent)
        functions = self._bench.folder / "functions"
        shutil.copytree(SERVER, functions / "inference", ignore=shutil.ignore_patterns("__pycache__"))
        (functions / "inference" / "models" / f"{model.name}.csv").write_text(model.table)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self._server = self._bench.start(
            UID,
            *(sys.executable, "-m", "inference"),
            stdin=subprocess.DEVNULL,
            PORT=str(port),
            MODEL=model.name,
            BATCH_SIZE=str(batch_size),
            PYTHONPATH=str(functions),
            PYTHONDONTWRITEBYTECODE="1",
            CUDA_MPS_ACTIVE_THREAD_PERCENTAGE=str(sm_percent),
        )
        self._bench.wait_for(self._healthy, START_WITHIN_S)

    def ask(self, path: str = "/predict") -> dict[str, Any]:
        """One request."""
        with urllib.request.urlopen(self.url + path, timeout=30) as answer:
            facts: dict[str, Any] = json.load(answer)
            return facts

    @contextmanager
    def ahead(self) -> Iterator[None]:
        """Server and caller run before everything else on the machine (SCHED_RR), so that only they are measured."""
        pids = [self._server.pid, *_children(self._server.pid)]
        ours = [int(task.name) for pid in pids for task in Path(f"/proc/{pid}/task").iterdir()]
        for task in (*ours, 0):
            os.sched_setscheduler(task, os.SCHED_RR, os.sched_param(1))
        try:
            yield
        finally:
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))

    def busy_s(self) -> float:
        """GPU time charged so far, as the pod's page says."""
        return self._bench.report(UID).busy_ns / 1e9

    def close(self) -> None:
        """Ends the server and takes the GPU away."""
        self._server.terminate()
        try:
            self._server.wait(10)
        except subprocess.TimeoutExpired:
            self._server.kill()
        self._bench.close()

    def __enter__(self) -> Pod:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _healthy(self) -> bool:
        try:
            return bool(self.ask("/healthz"))
        except OSError:
            return False


def _children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
