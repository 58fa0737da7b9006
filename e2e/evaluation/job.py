"""Evaluation: one simulated run as a value that another process can work on."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from hasgpu.model.profile import Gate
from hasgpu.simulator.bound import least_gpu_seconds, served_at_the_bound
from hasgpu.simulator.cluster import Cluster
from hasgpu.simulator.functions_file import FunctionSpec
from hasgpu.simulator.gates import RowPolicy
from hasgpu.simulator.policies.registry import Tuning, policy_named
from hasgpu.simulator.policy import Policy
from hasgpu.simulator.result import latencies_s, summary
from hasgpu.simulator.run import Setup, simulate, simulated_gpus
from hasgpu.simulator.workload import Floats, Workload

from .data import PRODUCT
from .replayed import Replayed
from .runner import Runner


@dataclass(frozen=True, kw_only=True)
class Job:
    """A label, and what is simulated; made into a setup only where it is worked on."""

    label: tuple[Any, ...]
    functions: tuple[FunctionSpec, ...]
    arrivals: dict[str, Floats]
    horizon_s: float
    policy: str
    gpus: int = 4
    gate: Gate = "gpu-time"
    rows: RowPolicy = "slots"
    seed: int = 0
    tuning: Tuning = field(default_factory=Tuning)
    interference: float = 0.0
    overhead_noise: float = 0.0
    rest_s: float = math.inf
    timeline: bool = False
    warm_s: float = 0.0
    """Requests and GPUs are also told without what came before."""
    replayed: tuple[int, ...] = ()
    """Quotas of a log, one each two seconds, instead of the policy's decisions; the slice is the tuning's start."""


@dataclass(frozen=True)
class Outcome:
    """What a run came to."""

    label: tuple[Any, ...]
    result: dict[str, Any]
    timeline: list[tuple[float, float, int]]
    warm_late: float
    warm_gpus: float
    pods_a_row: float
    """At the end."""


def setup_of(job: Job) -> Setup:
    """The simulator's input."""
    return Setup(
        functions=job.functions,
        workload=Workload(arrivals=job.arrivals, horizon_s=job.horizon_s),
        gpus=simulated_gpus(job.gpus, PRODUCT),
        gate=job.gate,
        rows=job.rows,
        seed=job.seed,
        interference=job.interference,
        overhead_noise=job.overhead_noise,
        rest_s=job.rest_s,
    )


def work(job: Job) -> Outcome:
    """Simulates one. AssertionError where a run was cheaper than the proven bound: then the simulator is wrong."""
    setup = setup_of(job)
    cluster = served_at_the_bound(setup) if job.policy == "bound" else simulate(setup, _policy(job, setup))
    result = summary(cluster, job.horizon_s)
    if not job.overhead_noise and not math.isfinite(job.rest_s):
        bound = sum(least_gpu_seconds(setup, each) for each in cluster.functions.values())
        allocated: float = result["gpu_seconds"]["allocated"]  # type: ignore[index]
        assert bound <= allocated * (1.0 + 1e-6) + 1e-6, (job.policy, job.gate, bound, allocated)
    samples = next(iter(cluster.functions.values())).samples if job.timeline else []
    return Outcome(
        job.label,
        result,
        [(each.at_s, each.allocated, each.pods) for each in samples],
        *_warm(job, cluster),
        _pods_a_row(cluster),
    )


def _policy(job: Job, setup: Setup) -> Policy:
    if job.replayed:
        return Replayed(job.tuning.has_gpu_start[0], job.replayed)
    return policy_named(job.policy, setup, job.tuning)


def _pods_a_row(cluster: Cluster) -> float:
    rows = [row for device in cluster.devices.values() for row in device.rows.values()]
    return sum(len(row.pods) for row in rows) / len(rows) if rows else 0.0


def _warm(job: Job, cluster: Cluster) -> tuple[float, float]:
    """Late share and mean GPUs after the first seconds."""
    late, gpus = [], 0.0
    for each in cluster.functions.values():
        kept = each.requests.arrivals() >= job.warm_s
        late.append(latencies_s(each)[kept] > each.spec.slo_s)
        seconds = [sample.allocated for sample in each.samples if job.warm_s <= sample.at_s <= job.horizon_s]
        gpus += float(np.mean(seconds)) if seconds else 0.0
    return float(np.concatenate(late).mean()), gpus


def work_all(jobs: Iterable[Job], runner: Runner) -> list[Outcome]:
    """All of them, in their order; the same job under two labels is simulated once."""
    listed = list(jobs)
    outcomes = runner.map(work, [replace(job, label=()) for job in listed])
    return [replace(outcome, label=job.label) for outcome, job in zip(outcomes, listed, strict=True)]


def by_label(outcomes: Iterable[Outcome]) -> dict[Any, list[Outcome]]:
    """Those of one label together, in their order."""
    found: dict[Any, list[Outcome]] = {}
    for outcome in outcomes:
        found.setdefault(outcome.label, []).append(outcome)
    return found


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Mean and half-width of its 95 % interval (Student's t)."""
    t = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78, 6: 2.57, 7: 2.45, 8: 2.36, 9: 2.31, 10: 2.26}
    array = np.asarray(values, dtype=float)
    if len(array) < 2:
        return float(array.mean()), float("nan")
    half = t.get(len(array), 2.0) * array.std(ddof=1) / np.sqrt(len(array))
    return float(array.mean()), float(half)


def shown(values: Sequence[float], digits: int = 3) -> str:
    """``0.064 ± 0.002``."""
    mean, half = interval(values)
    return f"{mean:.{digits}f} ± {half:.{digits}f}"


def table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    body = ["| " + " | ".join(line) + " |" for line in lines]
    return "\n".join(["| " + " | ".join(head) + " |", "|" + "---|" * len(head), *body])
