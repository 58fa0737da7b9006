"""Evaluation: many functions of many models on one cluster, loaded by phases of the Twitter trace: Pareto fronts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hasgpu.simulator.functions_file import FunctionSpec
from hasgpu.simulator.policies.registry import Tuning
from hasgpu.simulator.workload import Floats, generator

from .data import OVERHEAD_S, function, measured, thinned_poisson, truth_of, twitter
from .job import Job, Outcome, interval, shown, table, work_all

FUNCTIONS, GPUS = 100, 40
PERCENTILE = 95.0
WARM_S = 30.0
"""At the start all functions are loaded at once, each with one pod made for no load: that is told apart."""
FRONTS: dict[str, tuple[Tuning, ...]] = {
    "hasgpu": (
        Tuning(risk_quantile=0.5, free=-0.2),
        Tuning(risk_quantile=0.8),
        Tuning(risk_quantile=0.9),
        Tuning(risk_quantile=0.95, free=0.1),
        Tuning(risk_quantile=0.99, free=0.2),
    ),
    "has-gpu-intended": tuple(
        Tuning(has_gpu_up=up, slack=slack) for up, slack in ((0.15, 0.4), (0.3, 0.4), (0.3, 0.7), (0.5, 0.7))
    ),
    **{
        rival: tuple(
            Tuning(utilisation=used, slack=slack) for used, slack in ((0.15, 0.4), (0.3, 0.4), (0.3, 0.7), (0.5, 0.7))
        )
        for rival in ("fast-gshare", "infless-like", "dilu-like")
    },
    "kpa-static": (
        Tuning(kpa_static_requests_per_s=5.0),
        Tuning(kpa_static_requests_per_s=10.0),
        Tuning(kpa_static_requests_per_s=10.0, kpa_concurrency=0.5),
    ),
    "kpa-whole": (Tuning(kpa_concurrency=1.0),),
}


def functions(seed: int, count: int) -> tuple[FunctionSpec, ...]:
    """Models in turn; each SLO is twice the latency on a whole GPU."""
    models = sorted(model for model in measured() if truth_of(model).work_s(1, 100) < 0.15)
    chance = generator(seed, "models", "order")
    order = chance.permutation(len(models))
    made = []
    for number in range(count):
        model = models[order[number % len(models)]]
        base_s = OVERHEAD_S + truth_of(model).work_s(1, 100)
        made.append(function(f"f{number:03d}", model, slo_s=2 * base_s, base_s=base_s, percentile=PERCENTILE))
    return tuple(made)


def arrivals(specs: Sequence[FunctionSpec], seed: int, horizon_s: int, mean_per_s: float) -> dict[str, Floats]:
    """Each function a phase of its own, and a rate of its own between a fifth and twice the mean."""
    trace, found = twitter(), {}
    for spec in specs:
        chance = generator(seed, spec.name, "phase")
        start = int(chance.integers(0, len(trace) - horizon_s))
        rates = trace[start : start + horizon_s] / trace.mean() * mean_per_s * chance.uniform(0.2, 2.0)
        found[spec.name] = thinned_poisson(rates, seed, spec.name)
    return found


def run(seeds: Sequence[int], horizon_s: int, processes: int, count: int = FUNCTIONS) -> list[Outcome]:
    """Every policy at every point of its front."""
    jobs = []
    for seed in seeds:
        specs = functions(seed, count)
        load = arrivals(specs, seed, horizon_s, 5.0)
        for policy, tunings in FRONTS.items():
            for point, tuning in enumerate(tunings):
                jobs.append(
                    Job(
                        label=(policy, point),
                        functions=specs,
                        arrivals=load,
                        horizon_s=float(horizon_s),
                        policy=policy,
                        gpus=GPUS,
                        seed=seed,
                        tuning=tuning,
                        warm_s=WARM_S,
                    )
                )
    return work_all(jobs, processes)


def front(outcomes: Sequence[Outcome]) -> dict[tuple[str, int], tuple[list[float], list[float]]]:
    """(mean GPUs, late share) by policy and point, one of each a seed."""
    found: dict[tuple[str, int], tuple[list[float], list[float]]] = {}
    for each in outcomes:
        gpus, late = found.setdefault(each.label, ([], []))
        gpus.append(each.warm_gpus)
        late.append(100.0 * each.warm_late)
    return found


def report(outcomes: Sequence[Outcome]) -> str:
    """The whole front, and the two ratios of the goal."""
    points = front(outcomes)
    lines = [[policy, str(point), shown(gpus, 2), shown(late, 2)] for (policy, point), (gpus, late) in points.items()]
    return table(["policy", "point", "mean GPUs", "late %"], lines) + "\n\n" + _ratios(points)


def _ratios(points: dict[tuple[str, int], tuple[list[float], list[float]]]) -> str:
    mean = {key: (interval(gpus)[0], interval(late)[0]) for key, (gpus, late) in points.items()}
    ours = sorted(value for (policy, _), value in mean.items() if policy == "hasgpu")
    lines = []
    for rival in [policy for policy in FRONTS if policy != "hasgpu"]:
        for cost, late in sorted(value for (policy, _), value in mean.items() if policy == rival):
            cheaper = [value for value in ours if value[1] <= late]
            better = [value for value in ours if value[0] <= cost]
            lines.append(
                [
                    rival,
                    f"{cost:.2f}",
                    f"{late:.2f}",
                    f"{cost / cheaper[0][0]:.2f}x" if cheaper else "–",
                    f"{late / max(min(v[1] for v in better), 1e-3):.1f}x" if better else "–",
                ]
            )
    head = [
        "rival",
        "its GPUs",
        "its late %",
        "cheaper at its violations or fewer",
        "fewer violations at its cost or less",
    ]
    return table(head, lines)


def figure(outcomes: Sequence[Outcome], file: str) -> None:
    """The fronts as a picture."""
    from matplotlib.figure import Figure

    picture = Figure(figsize=(7, 5), layout="constrained")
    axes = picture.subplots()
    points = front(outcomes)
    for policy in FRONTS:
        mine = sorted(
            (interval(g)[0], max(interval(v)[0], 1e-2)) for (name, _), (g, v) in points.items() if name == policy
        )
        axes.plot(*np.array(mine).T, "o-", label=policy, markersize=4, linewidth=1)
    axes.set(xscale="log", yscale="log", xlabel="mean GPUs allocated", ylabel="late requests, %")
    axes.legend(fontsize="small")
    picture.savefig(file, dpi=110, metadata={"Software": None})
