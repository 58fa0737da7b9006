"""The function under test, served by gunicorn on an emulated GPU."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from e2e.functions.inference.settings import read_settings
from e2e.functions.inference.table import read_table
from tests.emulated_gpu.node import Node, wait_for

FUNCTIONS = Path(__file__).parents[2] / "e2e" / "functions"


class Function:
    def __init__(self, node: Node, port: int, **environment: str) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "inference"],
            cwd=FUNCTIONS,
            env=node.environment(PORT=str(port), **environment),
            stderr=subprocess.DEVNULL,
        )
        wait_for(self.healthy, 15)

    def healthy(self) -> bool:
        try:
            return bool(self.get("/healthz"))
        except urllib.error.URLError:
            return False

    def get(self, path: str) -> dict[str, Any]:
        with urllib.request.urlopen(self.url + path, timeout=10) as response:
            facts: dict[str, Any] = json.load(response)
            return facts


@pytest.fixture
def function(node: Node) -> Iterator[Function]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    function = Function(node, port, MODEL="resnet50", BATCH_SIZE="4", HOST_TIME_SCALE="0")
    yield function
    function.process.terminate()
    function.process.wait(10)


def test_requests_become_inferences(node: Node, function: Function) -> None:
    first = function.get("/predict")
    assert (first["model"], first["batch"], first["sm_count"]) == ("resnet50", 1, 80)
    kernels = [kernel for kernel in node.log().after(0) if kernel.pid == first["pid"]]
    assert [kernel.name for kernel in kernels] == list(read_table("resnet50").kernels)
    busy_ms = sum(kernel.end_ns - kernel.start_ns for kernel in kernels) / 1e6
    assert busy_ms == pytest.approx(6.97, abs=0.05)  # as models/README.md says
    assert function.get("/predict?batch=8")["batch"] == 8
    with ThreadPoolExecutor(12) as callers:
        together = list(callers.map(lambda _: function.get("/predict")["batch"], range(12)))
    assert max(together) == 4  # those that waited are answered by one inference
    with pytest.raises(urllib.error.HTTPError, match="400"):
        function.get("/predict?batch=65")


def test_bad_settings_are_told_with_name_and_value() -> None:
    with pytest.raises(ValueError, match="BATCH_SIZE='x'"):
        read_settings({"BATCH_SIZE": "x"})
    with pytest.raises(ValueError, match="known are convnext_large, mobilenet_v2, resnet50"):
        read_table("vgg")
