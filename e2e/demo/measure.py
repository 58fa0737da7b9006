"""Measures the demo's latency profiles on the emulated GPU: `python -m e2e.demo.measure`.

Each SM share is a process of its own under an MPS daemon, as on a real GPU; the GPU is the double's, the figures are
*emulated*. The device lives in a folder of its own, so a running bed is not disturbed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import click
import yaml

from e2e.commands import ROOT
from e2e.functions.inference.table import read_table

from .functions import FUNCTIONS, Function

DOUBLE = ROOT / "e2e/emulated_gpu/build"
PRODUCT = "Tesla-V100-SXM2-16GB"
SM_PERCENTS = (5, 10, 20, 30, 50, 70, 100)
BATCHES = (1, 4)
INFERENCES = 15
CHILD = """
import sys, time
from e2e.functions.inference.driver import Driver
from e2e.functions.inference.network import Network
from e2e.functions.inference.table import read_table
network = Network(Driver(), read_table(sys.argv[1]), 1.0)
for count in range(3 + int(sys.argv[3])):
    begin = time.perf_counter()
    network.infer(int(sys.argv[2]))
    if count >= 3:
        print((time.perf_counter() - begin) * 1e3)
"""


def measure(model: str, batch: int, sm_percent: int, folder: Path) -> float:
    """Median milliseconds of one inference in a process with that share."""
    env = os.environ | {
        "LD_LIBRARY_PATH": str(DOUBLE),
        "HASGPU_EMULATED_DIR": str(folder / "gpus"),
        "CUDA_MPS_PIPE_DIRECTORY": str(folder / "mps"),
        "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE": str(sm_percent),
        "CUDA_VISIBLE_DEVICES": "0",
    }
    words = [sys.executable, "-c", CHILD, model, str(batch), str(INFERENCES)]
    done = subprocess.run(words, env=env, cwd=ROOT, check=True, capture_output=True, text=True)
    return median(float(line) for line in done.stdout.split())


def profile_of(function: Function, folder: Path) -> dict[str, object]:
    """A LatencyProfile object."""
    cells = []
    for batch in BATCHES:
        for sm_percent in SM_PERCENTS:
            latency_ms = measure(function.model, batch, sm_percent, folder)
            click.echo(f"{function.model} batch {batch} sm {sm_percent} %: {latency_ms:.1f} ms", err=True)
            cells.append({"batch": batch, "sm": sm_percent, "quota": 100, "latencyMs": round(latency_ms, 2)})
    memory_mib = (read_table(function.model).memory_bytes >> 20) + 256
    return {
        "apiVersion": "hasgpu.dev/v1alpha1",
        "kind": "LatencyProfile",
        "metadata": {"name": function.name},
        "spec": {
            "model": function.model,
            "memory": f"{memory_mib}Mi",
            "measurements": [{"gpuProduct": PRODUCT, "gate": "gpu-time", "window": "40ms", "cells": cells}],
        },
    }


@click.command()
@click.option("--output", type=click.Path(path_type=Path), default=Path(__file__).parent / "profiles")
def main(output: Path) -> None:
    """Write one profile for each function of the demo."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "mps").mkdir()
        env = os.environ | {
            "HASGPU_EMULATED_DIR": str(folder / "gpus"),
            "CUDA_MPS_PIPE_DIRECTORY": str(folder / "mps"),
            "CUDA_MPS_LOG_DIRECTORY": str(folder / "mps"),
        }
        subprocess.run([DOUBLE / "emulated-gpu", "create", "--gpus", "1", "--product", PRODUCT], env=env, check=True)
        daemon = subprocess.Popen([DOUBLE / "nvidia-cuda-mps-control", "-f"], env=env)
        try:
            time.sleep(0.5)
            for function in FUNCTIONS:
                text = yaml.safe_dump(profile_of(function, folder), sort_keys=False, default_flow_style=None, width=100)
                (output / f"{function.name}.yaml").write_text("# Measured on the emulated GPU.\n" + text)
        finally:
            daemon.terminate()
            daemon.wait(10)


if __name__ == "__main__":
    main()
