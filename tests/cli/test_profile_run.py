"""`profile run` against an API server's double that also stands for the pod and for its sidecar's GPU time."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml
from hasgpu.cli.command import Trouble
from hasgpu.cli.measuring_copy import copied
from hasgpu.cli.profile_run import WARM_UP, RunRequest, planned, run_plan
from hasgpu.cluster.session import Session

NS = "/apis/serving.knative.dev/v1/namespaces/ns/services"
POD = "/api/v1/namespaces/ns/pods"
SERVICE: dict[str, Any] = {
    "metadata": {"name": "conv", "namespace": "ns"},
    "spec": {
        "template": {
            "metadata": {
                "annotations": {
                    "hasgpu.dev/slo-latency": "200ms",
                    "hasgpu.dev/profile": "conv",
                    "hasgpu.dev/gpu-memory": "2Gi",
                    "autoscaling.knative.dev/class": "has.autoscaling.hasgpu.dev",
                }
            },
            "spec": {"containers": [{"image": "conv", "ports": [{"containerPort": 9000}]}]},
        }
    },
}
WORK_S = {1: 0.004, 4: 0.012}


class _World(ThreadingHTTPServer):
    """One service, its copy and the copy's pod."""

    made: list[dict[str, Any]]
    there: bool = False
    busy_s: float = 0.0
    answers_by_gpu: int = 1_000_000
    """Later ones come from elsewhere."""


class _Handler(BaseHTTPRequestHandler):
    server: _World

    def do_GET(self) -> None:
        where = urlsplit(self.path)
        if where.path == f"{NS}/conv":
            self._answer(SERVICE)
        elif where.path.startswith(NS):
            self._answer({"metadata": {}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}})
        elif where.path == POD:
            self._answer({"items": [_pod()] if self.server.there else []})
        elif where.path == f"{POD}/pod-1":
            self._answer(_pod())
        elif where.path.endswith("/gpus"):
            spec = {"node": "n", "uuid": "GPU-a", "product": "V100", "memory": "16Gi", "smCount": 80}
            self._answer({"items": [{"metadata": {"name": "gpu-a"}, "spec": spec}]})
        elif where.path == f"{POD}/pod-1:9402/proxy/metrics":
            self._answer(f"# HELP x\nhasgpu_pod_gpu_busy_seconds_total {self.server.busy_s:.9g}\n")
        elif where.path == f"{POD}/pod-1:9000/proxy/predict":
            work_s = WORK_S[int(parse_qs(where.query)["batch"][0])]
            time.sleep(work_s)
            self.server.busy_s += work_s * (self.server.answers_by_gpu > 0)
            self.server.answers_by_gpu -= 1
            self._answer({})
        else:
            self._answer({"kind": "Status"}, 404)

    def do_POST(self) -> None:
        self.server.made.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.server.there = True
        self._answer({}, 201)

    def do_DELETE(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if "/pods/" in self.path:
            self.server.there = False
        self._answer({})

    def log_message(self, format: str, *args: Any) -> None:
        """Silent."""

    def _answer(self, body: dict[str, Any] | str, status: int = 200) -> None:
        data = (body if isinstance(body, str) else json.dumps(body)).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def _pod() -> dict[str, Any]:
    metadata = {"name": "pod-1", "namespace": "ns", "annotations": {"slice.hasgpu.dev/gpu": "GPU-a"}}
    return {"metadata": metadata, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}


@pytest.fixture
def world() -> Iterator[_World]:
    server = _World(("127.0.0.1", 0), _Handler)
    server.made = []
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def session(world: _World) -> Session:
    return Session(f"http://127.0.0.1:{world.server_address[1]}")


def request(
    plan: Path | None = None, path: str = "/predict?batch={batch}", batches: tuple[int, ...] = (1,)
) -> RunRequest:
    return RunRequest(
        namespace="ns", service="conv", plan=plan, batches=batches, path=path, inferences=4, timeout_s=5.0
    )


def test_a_plan_is_measured_slice_by_slice_and_nothing_is_left(world: _World, tmp_path: Path) -> None:
    plan = tmp_path / "plan.csv"
    plan.write_text("batch,sm,quota\n1,50,100\n1,20,100\n4,50,100\n")
    run_plan(session(world), request(plan), tmp_path / "conv.yaml")
    made = [each["spec"]["template"]["metadata"]["annotations"] for each in world.made]
    assert [each["hasgpu.dev/sm-partition"] for each in made] == ["50%", "20%"]
    assert not world.there
    profile = yaml.safe_load((tmp_path / "conv.yaml").read_text())
    (measurement,) = profile["spec"]["measurements"]
    assert (measurement["gpuProduct"], measurement["gate"]) == ("V100", "gpu-time")
    assert profile["spec"]["memory"] == "2Gi"
    cells = {(cell["batch"], cell["sm"]): cell["latencyMs"] for cell in measurement["cells"]}
    # At least what the GPU's counter says; a busy machine may add to what is measured from outside.
    assert cells.keys() == {(1, 50), (4, 50), (1, 20)}
    assert all(1000.0 * WORK_S[batch] <= ms for (batch, _), ms in cells.items())


def test_a_request_that_uses_no_gpu_is_told(world: _World, tmp_path: Path) -> None:
    world.answers_by_gpu = 0
    plan = tmp_path / "plan.csv"
    plan.write_text("batch,sm,quota\n1,50,100\n")
    with pytest.raises(Trouble, match="answered without the GPU"):
        run_plan(session(world), request(plan), tmp_path / "conv.yaml")
    assert not world.there


@pytest.mark.parametrize("output", ["conv.yaml", "-"])
def test_cells_measured_before_one_that_fails_are_kept(
    world: _World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], output: str
) -> None:
    monkeypatch.chdir(tmp_path)
    world.answers_by_gpu = WARM_UP + request().inferences
    plan = tmp_path / "plan.csv"
    plan.write_text("batch,sm,quota\n1,50,100\n4,50,100\n1,20,100\n")
    with pytest.raises(Trouble, match="answered without the GPU"):
        run_plan(session(world), request(plan), Path(output))
    profile = yaml.safe_load(capsys.readouterr().out if output == "-" else Path(output).read_text())
    (measurement,) = profile["spec"]["measurements"]
    assert measurement["gpuProduct"] == "V100"
    assert [(cell["batch"], cell["sm"]) for cell in measurement["cells"]] == [(1, 50)]


def test_a_plan_of_no_cell_is_refused(tmp_path: Path) -> None:
    (tmp_path / "plan.csv").write_text("batch,sm,quota\n")
    with pytest.raises(Trouble, match="has no cell"):
        planned(request(tmp_path / "plan.csv"))


def test_the_copy_has_the_containers_and_a_slice_for_itself() -> None:
    body = copied(SERVICE, "conv-sm20-q100", 20, 100)
    assert body["spec"]["template"]["spec"] == SERVICE["spec"]["template"]["spec"]
    assert body["spec"]["template"]["metadata"]["annotations"] == {
        "hasgpu.dev/gpu-memory": "2Gi",
        "hasgpu.dev/scaling": "fixed",
        "hasgpu.dev/sm-partition": "20%",
        "hasgpu.dev/time-quota": "100%",
        "autoscaling.knative.dev/min-scale": "1",
        "autoscaling.knative.dev/max-scale": "1",
    }


def test_the_default_plan_spans_the_shares_at_the_whole_quota() -> None:
    cells = planned(request(batches=(1, 4, 8)))
    assert {quota for _, _, quota in cells} == {100}
    assert {sm for _, sm, _ in cells} == {100, 50, 20, 10, 5}
    assert len(cells) == 12


def test_batches_need_a_place_in_the_request() -> None:
    with pytest.raises(Trouble, match="batches above 1"):
        planned(request(path="/predict", batches=(1, 8)))
