"""The MPS sidecar: starts only with MPS, says why not, and tells the truth about its pod."""

from __future__ import annotations

import re
import socket
import struct
import subprocess
import time
import urllib.error
import urllib.request

import pytest
from hasgpu.device import page_layout as at

from e2e.dataplane.bench import ROOT, Bench, entry

A = "00000000-0000-4000-8000-00000000000a"
SIDECAR = ROOT / "plugin" / "shim" / "build" / "hasgpu-mps-sidecar"


class Sidecar:
    def __init__(self, bench: Bench, **extra: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.process = bench.start(A, SIDECAR, "--port", self.port, "--wait", 0, LD_PRELOAD="", **extra)
        bench.wait_for(lambda: self.process.poll() is not None or self.get("/healthz")[0] == 200)

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=2) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError as error:
            return 0, str(error)


def test_without_mps_it_fails_with_a_reason(bench: Bench) -> None:
    failed = subprocess.run([SIDECAR, "--wait", "0"], env=bench.environment, capture_output=True, text=True)
    assert failed.returncode == 1
    assert f"MPS control daemon does not answer at {bench.folder}/control" in failed.stderr


def test_it_is_ready_until_mps_goes_and_again_when_it_is_back(bench: Bench) -> None:
    bench.start_mps()
    bench.publish(entry(A, 0, 30))
    sidecar = Sidecar(bench)
    assert sidecar.get("/readyz") == (200, "ok\n")
    bench.stop_mps()
    code, reason = sidecar.get("/readyz")
    assert code == 503
    assert "does not answer" in reason
    assert sidecar.get("/healthz")[0] == 200
    bench.start_mps()
    assert sidecar.get("/readyz")[0] == 200


@pytest.mark.parametrize(
    ("seen", "percent", "ready"),
    [
        pytest.param(0, "25", True, id="no context yet"),
        pytest.param(20, "25", True, id="exactly the slice"),
        pytest.param(80, "25", False, id="the whole GPU: MPS was not reached"),
        pytest.param(22, "26", True, id="rounded up to a whole group"),
        pytest.param(20, "26", True, id="rounded down to a whole group"),
        pytest.param(24, "26", False, id="more than rounding explains"),
    ],
)
def test_it_compares_the_sms_with_the_slice(bench: Bench, seen: int, percent: str, ready: bool) -> None:
    bench.start_mps()
    bench.publish(entry(A, 0, 30))
    bench.page.describe(sm_count=80, sm_step=2)
    sidecar = Sidecar(bench, HASGPU_SM_PARTITION=percent)
    with open(bench.page_of(A), "r+b") as page:
        page.seek(at.PAGE_SM_COUNT[0])
        page.write(struct.pack("<I", seen))
    code, text = sidecar.get("/readyz")
    assert (code == 200) is ready, text


def test_a_fault_of_the_gpu_makes_it_unready(bench: Bench) -> None:
    bench.start_mps()
    bench.publish(entry(A, 0, 30))
    sidecar = Sidecar(bench)
    bench.page.mark_fault(31)
    assert sidecar.get("/readyz") == (503, "the GPU is in FAULT (31)\n")
    bench.page.mark_fault(0)
    assert sidecar.get("/readyz")[0] == 200


def test_a_lost_mps_server_shows_as_a_broken_context(bench: Bench) -> None:
    daemon = bench.start_mps()
    bench.publish(entry(A, 0, 30))
    child = bench.run(A, "sync", 200, 5)
    daemon.kill()
    assert bench.result(child)["error"] in (805, 806, 807)
    assert bench.report(A).last_error in (805, 806, 807)


def test_an_error_counts_until_its_process_has_gone(bench: Bench) -> None:
    bench.start_mps()
    bench.publish(entry(A, 0, 30))
    sidecar = Sidecar(bench)

    def break_context() -> None:
        with open(bench.page_of(A), "r+b") as page:
            page.seek(at.PAGE_LAST_ERROR[0])
            page.write(struct.pack("<I", 719))

    child = bench.run(A, "async", 500, 5)
    bench.wait_for(lambda: bench.report(A).launches)
    break_context()
    assert sidecar.get("/readyz") == (503, "the CUDA context is broken: error 719\n")
    child.kill()
    child.wait()
    assert sidecar.get("/readyz")[0] == 200
    bench.run(A, "async", 500, 5)
    bench.wait_for(lambda: bench.report(A).last_error == 0)


def test_its_metrics_are_the_pods(bench: Bench) -> None:
    bench.start_mps()
    bench.publish(entry(A, 0, 30))
    sidecar = Sidecar(bench)
    bench.run(A, "async", 500, 5)
    time.sleep(0.4)
    _, text = sidecar.get("/metrics")
    values = {line.split()[0]: float(line.split()[1]) for line in text.splitlines() if not line.startswith("#")}
    assert values["hasgpu_pod_gpu_busy_seconds_total"] > 0.05
    assert values["hasgpu_pod_processes"] == 1
    assert values["hasgpu_pod_sm_count"] == 80
    assert values["hasgpu_pod_mps_up"] == 1
    assert values["hasgpu_pod_launches_total"] > 50


def test_the_documents_name_every_metric(bench: Bench) -> None:
    bench.start_mps()
    bench.publish(entry(A, 0, 30))
    _, text = Sidecar(bench).get("/metrics")
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.M))
    told = [
        f"| `{name}` | {kinds[name]} | {meaning} |" for name, meaning in re.findall(r"^# HELP (\S+) (.+)$", text, re.M)
    ]
    page = (ROOT / "docs" / "metrics.md").read_text()
    assert re.findall(r"^\| `hasgpu_pod_.*$", page, re.M) == told


def test_it_ends_at_once_when_told(bench: Bench) -> None:
    bench.start_mps()
    sidecar = Sidecar(bench)
    start = time.monotonic()
    sidecar.process.terminate()
    assert sidecar.process.wait(timeout=2) == 0
    assert time.monotonic() - start < 0.5


def test_silent_and_strange_clients_do_not_stop_it(bench: Bench) -> None:
    bench.start_mps()
    sidecar = Sidecar(bench)
    with (
        socket.create_connection(("127.0.0.1", sidecar.port)),
        socket.create_connection(("127.0.0.1", sidecar.port)) as strange,
    ):
        strange.sendall(b"\x00" * 5000)
        assert sidecar.get("/healthz")[0] == 200
    assert sidecar.get("/nowhere")[0] == 404
