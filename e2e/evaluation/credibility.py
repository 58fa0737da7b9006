"""Evaluation: the gate before all results: does the simulator reproduce the authors' own runs of HAS-GPU?"""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import numpy as np
from hasgpu.simulator.policies.registry import Tuning

from .calibration import CALIBRATION, CAPACITIES, DEVIATIONS, HELD_OUT, OVERHEADS_MS, Parameters
from .data import BASES_MS, evenly_spaced, function, rows
from .job import Job, Outcome, table, work_all

MODELS = {"resnet": "resnet50", "convnext": "convnext_large", "mobilenet": "mobilenet_v3_large"}
HORIZON_S = 250.0
Run = tuple[str, str, str]


@dataclass(frozen=True)
class Seen:
    """What the authors' log of a run says."""

    quotas: tuple[int, ...]
    """At each sample, two seconds apart."""
    sm: int
    mean_gpus: float
    p50_ms: float
    p95_ms: float


@lru_cache(maxsize=1)
def seen() -> dict[Run, Seen]:
    """All runs of HAS-GPU but BERT's."""
    first: dict[Run, float] = {}
    for row in rows("has_gpu/requests.csv.gz"):
        run = _run(row)
        if run:
            first[run] = min(first.get(run, float("inf")), _at(row["ts"]) - float(row["duration_s"]))
    samples: dict[Run, list[tuple[int, int]]] = {}
    for row in rows("has_gpu/gpu_usage.csv.gz"):
        run = _run(row)
        if run and _at(row["ts"].removesuffix("Z")) >= first[run] - 1.0:
            samples.setdefault(run, []).append((int(float(row["quota"])), int(float(row["sm"]))))
    found = {}
    for row in rows("has_gpu/run_summary.csv"):
        run = _run(row)
        if run:
            quotas = tuple(quota for quota, _ in samples[run])
            sm = samples[run][0][1]
            mean = sm * float(np.mean(quotas)) / 1e4
            found[run] = Seen(quotas, sm, mean, float(row["p50"]), float(row["p95"]))
    return found


def _run(row: dict[str, str]) -> Run | None:
    if row["system"] != "HAS" or row["model"] not in MODELS:
        return None
    return row["model"], row["workload"], row["run"]


def _at(text: str) -> float:
    return datetime.datetime.fromisoformat(text).replace(tzinfo=datetime.UTC).timestamp()


def jobs(runs: Iterable[Run], parameters: Parameters, seeds: Iterable[int]) -> list[Job]:
    """The runs as the simulator sees them: the published policy under the launch gate."""
    made = []
    for run, seed in product(runs, seeds):
        model, log = MODELS[run[0]], seen()[run]
        base_s = BASES_MS[model] / 1000.0
        spec = function(
            "f", model, slo_s=2 * base_s, base_s=base_s, overhead_s=parameters.overhead_ms / 1000.0, full_profile=True
        )
        made.append(
            Job(
                label=(run, seed),
                functions=(spec,),
                arrivals={"f": evenly_spaced("rps" if run[1] == "rps" else "stress_as_run")},
                horizon_s=HORIZON_S,
                policy="has-gpu-published",
                gpus=1,
                gate="launch",
                seed=seed,
                overhead_noise=parameters.deviation,
                tuning=Tuning(has_gpu_start=(log.sm, log.quotas[0]), has_gpu_capacity=parameters.capacity),
                timeline=True,
            )
        )
    return made


def same_states(outcome: Outcome, log: Seen) -> float:
    """Share of the log's samples at which the simulated quota is the logged one."""
    at = np.array([sample[0] for sample in outcome.timeline])
    quotas = np.array([round(sample[1] * 1e4 / log.sm) for sample in outcome.timeline])
    times = 2.0 * np.arange(len(log.quotas))
    index = np.clip(np.searchsorted(at, times), 0, len(at) - 1)
    return float(np.mean(quotas[index] == np.array(log.quotas)))


def calibrated(processes: int) -> Parameters:
    """The parameters with the least mean relative error of occupancy, median and P95 over the calibration runs."""
    best: tuple[float, Parameters] | None = None
    for overhead_ms, deviation, capacity in product(OVERHEADS_MS, DEVIATIONS, CAPACITIES):
        parameters = Parameters(overhead_ms, deviation, capacity)
        error = float(np.mean([_error(each) for each in work_all(jobs(CALIBRATION, parameters, (0,)), 1)]))
        if best is None or error < best[0]:
            best = error, parameters
    assert best is not None
    return best[1]


def _error(outcome: Outcome) -> float:
    log = seen()[outcome.label[0]]
    latency = outcome.result["latency_ms"]
    return float(
        np.mean(
            [
                abs(outcome.result["mean_gpus"] / log.mean_gpus - 1.0),
                abs(latency["p50"] / log.p50_ms - 1.0),
                abs(latency["p95"] / log.p95_ms - 1.0),
            ]
        )
    )


def report(processes: int) -> str:
    """The table, and what it means."""
    parameters = calibrated(processes)
    outcomes = {each.label[0]: each for each in work_all(jobs((*CALIBRATION, *HELD_OUT), parameters, (0,)), processes)}
    lines, kept, compared = [], 0, 0
    for run in (*CALIBRATION, *HELD_OUT):
        log, outcome = seen()[run], outcomes[run]
        band = _band(run)
        gpus, p95 = outcome.result["mean_gpus"], outcome.result["latency_ms"]["p95"]
        inside = band[0] <= gpus <= band[1] and band[2] <= p95 <= band[3]
        same = same_states(outcome, log)
        if run in HELD_OUT:
            compared += 1
            kept += inside and same >= 0.7
        lines.append(
            [
                "-".join(run),
                "calibration" if run in CALIBRATION else "held out",
                f"{log.mean_gpus:.3f} / {gpus:.3f}",
                f"{log.p50_ms:.0f} / {outcome.result['latency_ms']['p50']:.0f}",
                f"{log.p95_ms:.0f} / {p95:.0f}",
                "yes" if inside else "no",
                f"{100 * same:.0f} %",
            ]
        )
    head = ["run", "use", "mean GPUs log / sim", "P50 ms", "P95 ms", "in the authors' band", "equal quota states"]
    told = (
        f"Parameters: {parameters.overhead_ms:.0f} ms outside the GPU, deviation {parameters.deviation:g},"
        f" capacity factor {parameters.capacity:g}. {kept} of {compared} held-out runs are inside the band of the"
        " authors' same-load runs (± 5 % where there is only one) with at least 70 % equal states."
    )
    return f"{table(head, lines)}\n\n{told}"


def _band(run: Run) -> tuple[float, float, float, float]:
    """Of all runs of the same model and load."""
    alike = [log for other, log in seen().items() if other[:2] == run[:2]]
    gpus, p95 = [each.mean_gpus for each in alike], [each.p95_ms for each in alike]
    slack = 0.05 if len(alike) < 3 else 0.0
    return min(gpus) * (1 - slack), max(gpus) * (1 + slack), min(p95) * (1 - slack), max(p95) * (1 + slack)
