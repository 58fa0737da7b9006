"""The demo's timeline as a picture: load, quota, pods, latency against the SLO."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from .summary import Run, percentile

COLOURS = ("#1f6fb4", "#d9622b", "#3a923a", "#8a5fb0")


def draw(run: Run, path: Path) -> None:
    """Writes a PNG."""
    figure, axes = plt.subplots(4, 1, figsize=(11, 10), sharex=True, layout="constrained")
    for colour, service in zip(COLOURS, run.slo_s, strict=False):
        _load(axes[0], run, service, colour)
        _quota(axes[1], run, service, colour)
        _pods(axes[2], run, service, colour)
        _latency(axes[3], run, service, colour)
    for axis, title in zip(
        axes,
        (
            "requests/s (mean over 5 s)",
            "time quota of each pod, %",
            "ready pods",
            "p95 latency over 5 s, ms\n(dashed: SLO)",
        ),
        strict=True,
    ):
        axis.set_ylabel(title, fontsize=9)
        axis.grid(alpha=0.25)
        axis.set_ylim(bottom=0)
    axes[0].legend(loc="upper right", fontsize=9)
    axes[0].set_title("hasgpu demo on an emulated GPU")
    axes[-1].set_xlabel("seconds since the start of the load")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _bins(run: Run) -> list[float]:
    return [5.0 * index for index in range(max(1, round(run.load_s / 5)))]


def _load(axis: Axes, run: Run, service: str, colour: str) -> None:
    due = [outcome.due_s for outcome in run.outcomes if outcome.function == service]
    rates = [sum(1 for at in due if start <= at < start + 5) / 5 for start in _bins(run)]
    axis.step(_bins(run), rates, where="post", color=colour, label=service)


def _quota(axis: Axes, run: Run, service: str, colour: str) -> None:
    for index, pod in enumerate(run.timeline.pods(service)):
        states = [s for s in run.timeline.states if s.pod == pod]
        xs = [s.at_s for s in states]
        ys = [0 if s.gone else s.quota_percent for s in states]
        axis.step(xs, ys, where="post", color=colour, alpha=max(0.35, 1 - 0.25 * index), linewidth=1.4)


def _pods(axis: Axes, run: Run, service: str, colour: str) -> None:
    moments = sorted({0.0, *(s.at_s for s in run.timeline.states)})
    axis.step(moments, [run.timeline.ready_pods(at, service) for at in moments], where="post", color=colour)


def _latency(axis: Axes, run: Run, service: str, colour: str) -> None:
    xs, ys = [], []
    for start in _bins(run):
        values = [o.latency_s for o in run.outcomes if o.function == service and o.ok and start <= o.due_s < start + 5]
        if values:
            xs.append(start + 2.5)
            ys.append(percentile(values, 95) * 1e3)
    axis.plot(xs, ys, color=colour, marker=".", markersize=4, linewidth=1.2)
    axis.axhline(run.slo_s[service] * 1e3, color=colour, linestyle="--", linewidth=0.9, alpha=0.7)
