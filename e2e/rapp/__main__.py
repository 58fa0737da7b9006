"""`python -m e2e.rapp --seed N`: predicted and measured P95 of random slices and loads on the emulated GPU.

Models are drawn from the seed, measured in 20 cells, fitted, and then served at slices and loads that no cell holds.
"""

from __future__ import annotations

import json
import random
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from statistics import median

import click
import msgspec
import numpy as np
from hasgpu.fitter.child import answer
from hasgpu.fitter.reference_file import packaged_reference
from hasgpu.model.profile import LatencyProfile
from hasgpu.prediction.surface import Surface
from hasgpu.prediction.table import to_surface

from e2e.dataplane.bench import build

from .measure import PLAN, PRODUCT, measured_model, served_latencies_s
from .models import Drawn, draw_models
from .trials import PERCENTILE, Trial, draw_trial

WITHIN = 0.15


@click.command()
@click.option("--seed", type=int, required=True, help="draws models, slices, loads and arrivals")
@click.option("--count", default=60, show_default=True, help="configurations")
@click.option("--models", "model_count", default=5, show_default=True)
@click.option("--requests", default=2000, show_default=True, help="of each configuration")
@click.option("--most-s", default=300.0, show_default=True, help="seconds of each configuration at most")
@click.option("--at-once", default=6, show_default=True, help="configurations, each with a GPU of its own")
@click.option("--output", type=click.Path(path_type=Path), help="where the figures go as JSON")
def main(
    seed: int, count: int, model_count: int, requests: int, most_s: float, at_once: int, output: Path | None
) -> None:
    """Exit code 1 where fewer than 90 % of the predictions are within 15 %."""
    build()
    chance = random.Random(seed)
    models = {model.name: model for model in draw_models(model_count, chance)}
    known = {model.name: measured_model(model, PLAN) for model in models.values()}
    surfaces = {name: _surface(each.profile) for name, each in known.items()}
    way_s, gap_s = (
        median(values) for values in zip(*((each.way_s, each.gap_s) for each in known.values()), strict=True)
    )
    trials = [draw_trial(surfaces, way_s, gap_s, chance) for _ in range(count)]
    # Processes: threads that send requests would wait for each other's turn of the interpreter, 5 ms at worst.
    with ProcessPoolExecutor(at_once) as pool:
        chosen = [models[trial.model] for trial in trials]
        rows = list(pool.map(_tried, chosen, trials, repeat(requests), repeat(most_s)))
    good = sum(abs(row.off) <= WITHIN for row in rows)
    summary = {
        "seed": seed,
        "way_ms": round(1e3 * way_s, 2),
        "gap_ms": round(1e3 * gap_s, 2),
        "within_15_percent": good,
        "of": count,
        "median_off_percent": round(100.0 * median(abs(row.off) for row in rows), 1),
    }
    click.echo(json.dumps(summary))
    if output:
        output.write_text(json.dumps(summary | {"trials": [msgspec.to_builtins(row) for row in rows]}, indent=1) + "\n")
    sys.exit(0 if good >= 0.9 * count else 1)


def _surface(profile: LatencyProfile) -> Surface:
    """Through the fitter's own door: an order and an answer."""
    order = msgspec.json.encode({"measurements": profile.measurements})
    return to_surface(msgspec.json.decode(answer(order, packaged_reference()))["fits"][PRODUCT])


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """One configuration's outcome."""

    trial: Trial
    measured_s: float
    off: float
    """Predicted over measured, less one."""
    requests: int


def _tried(model: Drawn, trial: Trial, requests: int, most_s: float) -> Tried:
    latencies_s = served_latencies_s(model, trial, requests, most_s)
    measured_s = float(np.percentile(latencies_s, PERCENTILE))
    off = trial.predicted_s / measured_s - 1.0
    click.echo(
        f"{trial.model} batch {trial.batch_size} sm {trial.sm_percent:3} quota {trial.quota_percent:3} "
        f"load {trial.load:.2f} {trial.requests_per_s:5.1f}/s: predicted {1e3 * trial.predicted_s:6.1f} ms, "
        f"measured {1e3 * measured_s:6.1f} ms of {len(latencies_s)}, {100.0 * off:+.1f} %",
        err=True,
    )
    return Tried(trial=trial, measured_s=measured_s, off=off, requests=len(latencies_s))


if __name__ == "__main__":
    main()
