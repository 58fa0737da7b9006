"""Evaluation: the gate before all results: does the simulator reproduce the authors' own runs of HAS-GPU?"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import numpy as np
from hasgpu.simulator.policies.registry import Tuning
from numpy.typing import NDArray

from .calibration import CALIBRATION, DEVIATIONS, HELD_OUT, RESTS_S, SHIFTS_MS, Parameters
from .data import BASES_MS, evenly_spaced, function, rows, truth_of
from .job import Job, Outcome, table, work_all
from .replayed import SAMPLE_S
from .runner import Runner
from .targets import Verdict

MODELS = {"resnet": "resnet50", "convnext": "convnext_large", "mobilenet": "mobilenet_v3_large"}
HORIZON_S = 250.0
PHASES_S = (0.0, 1.0, 2.0, 3.0, 4.0)
"""When the policy reads the rate, against the load: unknown, so each run is simulated with all; means are told."""
SAME_STATES = 0.7
"""Share of the ticks at which the quota must be the logged one."""
Run = tuple[str, str, str]
FAILURES = (
    "Where it fails. *resnet-rps-2, 3 and 4*: the shipped program cannot have made them. It expects the rate and about"
    " 6.1 more, 21.1 requests/s at most under this load, and its table lets 40 % of the time carry 21.4; so it never"
    " goes above 40 %, as run 5, the last of the four, never does. Runs 2 to 4, made in the nine hours before, end at"
    " 90, 100 and 70 %; 3 and 5 start alike and end at 100 and 40 %. *P95*: the logs have two things that the simulator"
    " lacks. Between 5 and 15 requests/s the median at 100 % of the time grows from about 80 to 97 ms: what is spent"
    " outside the GPU depends on the load, here it does not. And convnext_large takes 60 ms more than its table there,"
    " 74 ms on KServe. What the policy decides is reproduced: quota states and occupancy are those of the log in all"
    " held-out runs that the shipped program can have made."
)


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


def jobs(
    runs: Iterable[Run], parameters: Parameters, *, replayed: bool, phases_s: Sequence[float] = PHASES_S
) -> list[Job]:
    """The runs as the simulator sees them: the published policy, or the quotas of its log, under the launch gate."""
    made = []
    for run, phase_s in product(runs, phases_s):
        model, log = MODELS[run[0]], seen()[run]
        base_s = BASES_MS[model] / 1000.0
        outside_s = base_s - truth_of(model).work_s(1, 100) + parameters.shift_ms / 1000.0
        spec = function("f", model, slo_s=2 * base_s, base_s=base_s, overhead_s=outside_s, full_profile=True)
        made.append(
            Job(
                label=(run, replayed, parameters),
                functions=(spec,),
                arrivals={"f": evenly_spaced("rps" if run[1] == "rps" else "stress_as_run")},
                horizon_s=HORIZON_S,
                policy="has-gpu-published",
                gpus=1,
                gate="launch",
                seed=int(phase_s),
                overhead_noise=parameters.deviation,
                rest_s=parameters.rest_s,
                tuning=Tuning(has_gpu_start=(log.sm, log.quotas[0]), has_gpu_phase_s=phase_s),
                replayed=log.quotas if replayed else (),
                timeline=True,
            )
        )
    return made


def sampled(outcome: Outcome, log: Seen) -> NDArray[np.int64]:
    """The simulated quota at each of the log's samples."""
    at = np.array([sample[0] for sample in outcome.timeline])
    quotas = np.array([round(sample[1] * 1e4 / log.sm) for sample in outcome.timeline])
    times = SAMPLE_S * np.arange(len(log.quotas))
    return quotas[np.clip(np.searchsorted(at, times), 0, len(at) - 1)]


def calibrated(runner: Runner) -> Parameters:
    """Those with the least mean relative error of median and P95 over the calibration runs, their quotas replayed."""
    tried = [Parameters(*each) for each in product(SHIFTS_MS, DEVIATIONS, RESTS_S)]
    errors: dict[Parameters, list[float]] = {}
    every = [job for parameters in tried for job in jobs(CALIBRATION, parameters, replayed=True, phases_s=PHASES_S[:1])]
    for outcome in work_all(every, runner):
        errors.setdefault(outcome.label[2], []).append(_error(outcome))
    return min(tried, key=lambda parameters: float(np.mean(errors[parameters])))


def _error(outcome: Outcome) -> float:
    log, latency = seen()[outcome.label[0]], outcome.result["latency_ms"]
    return float(np.mean([abs(latency["p50"] / log.p50_ms - 1.0), abs(latency["p95"] / log.p95_ms - 1.0)]))


@dataclass(frozen=True)
class _Simulated:
    """One run over all phases, means."""

    gpus: float
    p50_ms: float
    p95_ms: float
    same: float
    """Share of equal quota states."""


def _mean(outcomes: Sequence[Outcome]) -> _Simulated:
    log = seen()[outcomes[0].label[0]]
    latencies = [each.result["latency_ms"] for each in outcomes]
    quotas = np.array([sampled(each, log) for each in outcomes])
    return _Simulated(
        log.sm * float(np.mean(quotas)) / 1e4,
        float(np.mean([each["p50"] for each in latencies])),
        float(np.mean([each["p95"] for each in latencies])),
        float(np.mean(quotas == np.array(log.quotas))),
    )


@dataclass(frozen=True)
class _Compared:
    """One run, its log beside the simulator's."""

    run: Run
    decided: _Simulated
    replayed: _Simulated

    @property
    def inside(self) -> bool:
        """Occupancy and P95 within the authors' band, most states equal."""
        least_gpus, most_gpus, _, _ = _band(self.run)
        decided = self.decided
        return least_gpus <= decided.gpus <= most_gpus and self.in_time(decided) and decided.same >= SAME_STATES

    def in_time(self, simulated: _Simulated) -> bool:
        """P95 within the authors' band."""
        _, _, least_ms, most_ms = _band(self.run)
        return least_ms <= simulated.p95_ms <= most_ms

    def line(self) -> list[str]:
        """As shown."""
        log, decided, replayed = seen()[self.run], self.decided, self.replayed
        return [
            "-".join(self.run),
            "calibration" if self.run in CALIBRATION else "held out",
            f"{log.mean_gpus:.3f} / {decided.gpus:.3f}",
            f"{log.p50_ms:.0f} / {decided.p50_ms:.0f}",
            f"{log.p95_ms:.0f} / {decided.p95_ms:.0f}",
            f"{100 * decided.same:.0f} %",
            "yes" if self.inside else "no",
            f"{replayed.p50_ms:.0f} / {replayed.p95_ms:.0f}",
            "yes" if self.in_time(replayed) else "no",
        ]


def report(runner: Runner) -> tuple[str, Verdict]:
    """The table, and what it means."""
    parameters = calibrated(runner)
    runs = (*CALIBRATION, *HELD_OUT)
    by: dict[tuple[Run, bool], list[Outcome]] = {}
    for outcome in work_all([j for kind in (False, True) for j in jobs(runs, parameters, replayed=kind)], runner):
        by.setdefault(outcome.label[:2], []).append(outcome)
    compared = [_Compared(run, _mean(by[run, False]), _mean(by[run, True])) for run in runs]
    held_out = [each for each in compared if each.run in HELD_OUT]
    kept = [each for each in held_out if each.inside]
    on_time = sum(each.in_time(each.replayed) for each in held_out)
    head = [
        "run", "use", "mean GPUs log / sim", "P50 ms", "P95 ms", "equal quota states", "in the authors' band",
        "quotas of the log replayed: P50 / P95 ms", "P95 in the band",
    ]  # fmt: skip
    told = (
        f"Parameters: {parameters.shift_ms:+.0f} ms outside the GPU beside what KServe's medians leave, deviation"
        f" {parameters.deviation:g}, rest {1000 * parameters.rest_s:.0f} ms.\n\n{len(kept)} of {len(held_out)} held-out"
        " runs are inside the band of the authors'"
        f" same-load runs (± 5 % where there are fewer than three) with at least {100 * SAME_STATES:.0f} % equal"
        f" states; with the logged quotas replayed, P95 is inside it in {on_time}."
    )
    missed = ", ".join("-".join(each.run) for each in held_out if not each.inside)
    verdict = Verdict(
        "credibility: the authors' held-out runs reproduced",
        "all: occupancy and P95 in their band, ≥ 70 % equal states",
        f"{len(kept)} of {len(held_out)}; with logged quotas replayed P95 in {on_time}",
        not missed,
        f"{missed}: see below" if missed else "",
    )
    return f"{table(head, [each.line() for each in compared])}\n\n{told}", verdict


def _band(run: Run) -> tuple[float, float, float, float]:
    """Of all runs of the same model and load."""
    alike = [log for other, log in seen().items() if other[:2] == run[:2]]
    gpus, p95 = [each.mean_gpus for each in alike], [each.p95_ms for each in alike]
    slack = 0.05 if len(alike) < 3 else 0.0
    return min(gpus) * (1 - slack), max(gpus) * (1 + slack), min(p95) * (1 - slack), max(p95) * (1 + slack)
