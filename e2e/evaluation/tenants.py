"""Evaluation: many functions of many models on one cluster, loaded by phases of the Twitter trace: Pareto fronts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hasgpu.simulator.functions_file import FunctionSpec
from hasgpu.simulator.gates import RowPolicy
from hasgpu.simulator.policies.registry import Tuning
from hasgpu.simulator.workload import Floats, generator

from .data import OVERHEAD_S, function, measured, thinned_poisson, truth_of, twitter
from .job import Job, Outcome, interval, shown, table, work_all
from .runner import Runner
from .targets import Verdict

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
LENDING = tuple(
    Tuning(risk_quantile=risk, free=free, lent_percent=90)
    for risk, free in ((0.5, -1.0), (0.5, -0.5), (0.8, 0.0), (0.8, 0.5), (0.9, 0.7))
)
"""Ours where rows lend and it counts on that; the training seed showed that to keep 90 % for lending serves best."""
BEST_LATE_PERCENT = 1.0
"""A policy's own best point is its cheapest with so much late at most; where there is none, its least late."""
Series = tuple[str, RowPolicy]


def fronts() -> dict[Series, tuple[Tuning, ...]]:
    """Every policy under strict slots, and in rows that lend (all rows do, whoever decides)."""
    strict: dict[Series, tuple[Tuning, ...]] = {(policy, "slots"): points for policy, points in FRONTS.items()}
    lent: dict[Series, tuple[Tuning, ...]] = {
        (policy, "borrow"): points for policy, points in FRONTS.items() if policy not in ("hasgpu", "kpa-whole")
    }
    return {("hasgpu", "borrow"): LENDING} | strict | lent


def named(series: Series) -> str:
    """As shown."""
    return f"{series[0]}, lending" if series[1] == "borrow" else series[0]


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


def run(seeds: Sequence[int], horizon_s: int, runner: Runner, count: int = FUNCTIONS) -> list[Outcome]:
    """Every policy at every point of its front."""
    jobs = []
    for seed in seeds:
        specs = functions(seed, count)
        load = arrivals(specs, seed, horizon_s, 5.0)
        for (policy, rows), tunings in fronts().items():
            for point, tuning in enumerate(tunings):
                jobs.append(
                    Job(
                        label=((policy, rows), point),
                        rows=rows,
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
    return work_all(jobs, runner)


Points = dict[tuple[Series, int], tuple[list[float], list[float]]]


def front(outcomes: Sequence[Outcome]) -> Points:
    """(mean GPUs, late share) by policy and point, one of each a seed."""
    found: Points = {}
    for each in outcomes:
        gpus, late = found.setdefault(each.label, ([], []))
        gpus.append(each.warm_gpus)
        late.append(100.0 * each.warm_late)
    return found


def report(outcomes: Sequence[Outcome]) -> str:
    """The whole front, and the two ratios of the goal."""
    points = front(outcomes)
    whole: dict[tuple[Series, int], list[float]] = {}
    for each in outcomes:
        whole.setdefault(each.label, []).append(each.result["whole_gpus"])
    lines = [
        [named(series), str(point), shown(gpus, 2), shown(late, 2), f"{np.mean(whole[series, point]):.1f}"]
        for (series, point), (gpus, late) in points.items()
    ]
    return "\n\n".join(
        [
            table(["policy", "point", "mean GPUs, lent time billed", "late %", "GPUs with a pod"], lines),
            "Against each rival's own best point, the cheapest with at most 1 % late (goal: at least 2x cheaper at its"
            " violations or fewer, and at least 5x fewer violations at its cost or less):",
            _ratios(points, ("hasgpu", "borrow")),
            "The same under strict slots for ours:",
            _ratios(points, ("hasgpu", "slots")),
        ]
    )


Ratio = tuple[Series, float, float, float | None, float | None]
"""A rival, its GPUs and late % at its best point; times cheaper at its late %, times fewer late at its cost."""


def _against(points: Points, ours: Series) -> list[Ratio]:
    mean = {key: (interval(gpus)[0], interval(late)[0]) for key, (gpus, late) in points.items()}
    mine = sorted(value for (series, _), value in mean.items() if series == ours)
    found: list[Ratio] = []
    for rival in fronts():
        # Ours under strict slots is not held against rivals whose rows lend.
        if rival[0] == "hasgpu" or (ours[1] == "slots" and rival[1] == "borrow"):
            continue
        cost, late = _best(sorted(value for (series, _), value in mean.items() if series == rival))
        cheaper = [value for value in mine if value[1] <= late]
        better = [value for value in mine if value[0] <= cost]
        times_cheaper = cost / cheaper[0][0] if cheaper else None
        times_fewer = late / max(min(value[1] for value in better), 1e-3) if better else None
        found.append((rival, cost, late, times_cheaper, times_fewer))
    return found


def _ratios(points: Points, ours: Series) -> str:
    lines = [
        [named(rival), f"{cost:.2f}", f"{late:.2f}", *(f"{x:.2f}x" if x else "–" for x in (cheaper, fewer)),
         "met" if _enough(cheaper, fewer) else "missed"]
        for rival, cost, late, cheaper, fewer in _against(points, ours)
    ]  # fmt: skip
    head = [
        "rival", "its GPUs", "its late %", "cheaper at its violations or fewer", "fewer violations at its cost or less",
        "goal: 2x, 5x",
    ]  # fmt: skip
    return table(head, lines)


def _enough(cheaper: float | None, fewer: float | None) -> bool:
    return (cheaper or 0.0) >= 2.0 and (fewer or 0.0) >= 5.0


def verdicts(outcomes: Sequence[Outcome]) -> list[Verdict]:
    """Ours in rows that lend against strict rivals and against those in rows that lend; ours under strict slots."""
    points, told = front(outcomes), []
    for kind, ours, rows in (
        ("ours in rows that lend, rivals' slots strict", "borrow", "slots"),
        ("all in rows that lend", "borrow", "borrow"),
        ("all under strict slots", "slots", "slots"),
    ):
        ratios = [each for each in _against(points, ("hasgpu", ours)) if each[0][1] == rows]  # type: ignore[arg-type]
        short = [each[0][0] for each in ratios if not _enough(*each[3:])]
        least = [min((each[n] or 0.0 for each in ratios), default=0.0) for n in (3, 4)]  # type: ignore[type-var]
        told.append(
            Verdict(
                f"{FUNCTIONS} functions, 59 models, Twitter phases, {GPUS} GPUs: {kind}",
                "≥ 2x cheaper and ≥ 5x fewer late than each rival at its best point",
                f"least {least[0]:.1f}x cheaper, {least[1]:.1f}x fewer late",
                not short,
                f"against {', '.join(short)}: {WHY[ours]}" if short else "",
            )
        )
    return told


WHY = {
    "borrow": "kpa-static in rows that lend is seldom late, at several times our cost; what is left of ours is about as"
    " seldom",
    "slots": "under strict slots most of a slice's cost is latency, not work, and no policy gets below it; tuned rivals"
    " find the same slices (decision 003)",
}
"""Why a goal is missed here, by what becomes of ours rows' idle time."""


def _best(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """(GPUs, late %) of a policy's own best point."""
    good = [point for point in points if point[1] <= BEST_LATE_PERCENT]
    return min(good) if good else min(points, key=lambda point: point[1])


def figure(outcomes: Sequence[Outcome], file: str) -> None:
    """The fronts as a picture."""
    from matplotlib.figure import Figure

    picture = Figure(figsize=(7, 5), layout="constrained")
    axes = picture.subplots()
    points = front(outcomes)
    colours = {policy: f"C{number}" for number, policy in enumerate(FRONTS)}
    for series in fronts():
        mine = sorted(
            (interval(gpus)[0], max(interval(late)[0], 1e-2))
            for (each, _), (gpus, late) in points.items()
            if each == series
        )
        style = "o-" if series[1] == "slots" else "s--"
        axes.plot(*np.array(mine).T, style, color=colours[series[0]], label=named(series), markersize=4, linewidth=1)
    axes.set(xscale="log", yscale="log", xlabel="mean GPUs allocated, lent time billed", ylabel="late requests, %")
    axes.legend(fontsize="x-small", ncols=2)
    picture.savefig(file, dpi=110, metadata={"Software": None})
