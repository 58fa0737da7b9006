"""Process simulator: pictures of a run: load, quota, pods, latency against the SLO. The only room with matplotlib."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .cluster import Cluster
from .deployed import Deployed
from .result import latencies_s

MOST = 12
"""Functions that get a picture of their own."""


def draw(cluster: Cluster, folder: Path) -> None:
    """``run.png`` for all functions together, ``function-NAME.png`` for the busiest of them."""
    functions = sorted(cluster.functions.values(), key=lambda each: -each.requests.count)
    _save(functions, f"{len(functions)} functions", folder / "run.png")
    for function in functions[:MOST]:
        _save([function], function.spec.name, folder / f"function-{function.spec.name}.png")


def _save(functions: list[Deployed], title: str, file: Path) -> None:
    figure = Figure(figsize=(9, 8), layout="constrained")
    load, quota, pods, latency = figure.subplots(4, 1, sharex=True)
    at = [sample.at_s for sample in functions[0].samples]
    series = {
        name: np.array([[getattr(sample, name) for sample in each.samples] for each in functions]).sum(axis=0)
        for name in ("requests", "allocated", "pods", "ready")
    }
    load.step(at, series["requests"], linewidth=0.8)
    load.set(ylabel="requests/s", title=title)
    quota.step(at, series["allocated"], linewidth=0.8)
    quota.set(ylabel="GPUs allocated\n(Σ SM x quota)")
    pods.step(at, series["pods"], label="with a slice", linewidth=0.8)
    pods.step(at, series["ready"], label="ready", linewidth=0.8)
    pods.set(ylabel="pods")
    pods.legend(loc="upper right", fontsize="small")
    _latency(latency, functions)
    for axes in (load, quota, pods):
        axes.set_ylim(bottom=0)
    figure.savefig(file, dpi=110, metadata={"Software": None})


def _latency(axes: Axes, functions: list[Deployed]) -> None:
    """One dot a request, as parts of the SLO: functions with different SLOs fit one picture."""
    arrived = np.concatenate([each.requests.arrivals() for each in functions])
    parts = np.concatenate([latencies_s(each) / each.spec.slo_s for each in functions])
    shown = np.isfinite(parts)
    if shown.any():
        axes.plot(arrived[shown], parts[shown], ",", alpha=0.5)
        axes.set_yscale("log")
    axes.axhline(1.0, color="red", linewidth=0.8)
    axes.set(ylabel="latency / SLO", xlabel="seconds")
