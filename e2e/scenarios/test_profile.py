"""`kn hasgpu profile run` measures a user's service on slices of the cluster's own GPU. Figures are emulated."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import yaml

from e2e.commands import kn, run

from .conftest import pods, until

IMAGE = "hasgpu.local/inference:1"
TRUE_MS = {(1, 50): 28.4, (4, 50): 110.6, (1, 20): 69.5}
"""What the emulated GPU takes for convnext_large, by batch and SM share (e2e/functions/inference/models)."""


def test_cells_are_what_the_gpu_takes_and_the_copies_leave_again(namespace: str, tmp_path: Path) -> None:
    kn(
        *("service", "create", "conv", "--namespace", namespace, "--image", IMAGE, "--port", "8080"),
        *("--env", "MODEL=convnext_large", "--wait-timeout", "120"),
        "--annotation-revision=hasgpu.dev/slo-latency=400ms",
        "--annotation-revision=hasgpu.dev/gpu-memory=2Gi",
        "--annotation-revision=hasgpu.dev/sm-partition=10%",
        "--annotation-revision=hasgpu.dev/time-quota=5%-10%",
    )
    plan, output = tmp_path / "plan.csv", tmp_path / "conv.yaml"
    plan.write_text("batch,sm,quota\n" + "".join(f"{batch},{sm},100\n" for batch, sm in TRUE_MS))
    words = ("profile", "run", "conv", "--namespace", namespace, "--plan", str(plan), "--output", str(output))
    run(sys.executable, "-m", "hasgpu.cli", *words, "--path", "/predict?batch={batch}", timeout_s=300)
    spec = yaml.safe_load(output.read_text())["spec"]
    (measurement,) = spec["measurements"]
    assert (spec["memory"], measurement["gate"]) == ("2Gi", "gpu-time")
    cells = {(cell["batch"], cell["sm"]): cell["latencyMs"] for cell in measurement["cells"]}
    assert cells == {key: pytest.approx(true_ms, rel=0.15) for key, true_ms in TRUE_MS.items()}
    until(lambda: all("-sm" not in each["metadata"]["name"] for each in pods(namespace)), 30, "the copies are gone")
