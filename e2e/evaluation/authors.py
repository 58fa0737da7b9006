"""Evaluation: the authors' load on one function at a time: late requests and mean GPUs, ours against all others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
from hasgpu.model.keys import RevisionKey
from hasgpu.simulator.policies.registry import Tuning

from .data import BASES_MS, authors_arrivals, authors_function
from .job import Job, Outcome, by_label, interval, shown, table, work_all
from .runner import Runner
from .targets import Verdict

GATES = ("gpu-time", "launch")
POLICIES = (
    "hasgpu",
    "rate-5s",
    "clairvoyant-5s",
    "bound",
    "has-gpu-published",
    "has-gpu-intended",
    "fast-gshare",
    "kpa-whole",
    "kpa-static",
    "dilu-like",
    "infless-like",
)
HORIZON_S = 250.0
PUBLISHED = {"resnet50": ".105–.232", "mobilenet_v3_large": ".295", "convnext_large": ".248"}
Key = tuple[str, str, float, str]
"""Model, policy, multiple of the SLO's base, gate."""
ALLOWED = {1.5: 0.01, 2.0: 0.005}
"""Late share at most, by multiple: the goals."""
MARGIN = 0.8
"""Tuning keeps to so much of what is allowed: other seeds are a little worse as often as better."""
TRAINING_SEEDS = (101, 102)
_LEVELS = tuple(Tuning(utilisation=used, slack=slack) for used in (0.15, 0.3, 0.5) for slack in (0.4, 0.7, 1.0))
GRIDS: dict[str, tuple[Tuning, ...]] = {
    "hasgpu": tuple(
        Tuning(risk_quantile=risk, free=free)
        for risk, free in (
            (0.99, 0.1),
            (0.95, 0.1),
            (0.95, 0.0),
            (0.9, 0.0),
            (0.85, 0.0),
            (0.8, 0.0),
            (0.8, -0.1),
            (0.8, -0.2),
            (0.7, -0.4),
            (0.6, -0.2),
            (0.5, -0.4),
        )
    ),
    "fast-gshare": _LEVELS,
    "infless-like": _LEVELS,
    "dilu-like": _LEVELS,
    "has-gpu-intended": tuple(
        Tuning(has_gpu_up=up, slack=slack) for up in (0.15, 0.3, 0.5, 0.9) for slack in (0.4, 0.7, 1.0)
    ),
    "kpa-static": tuple(
        Tuning(kpa_static_requests_per_s=rate, kpa_concurrency=target)
        for rate in (5.0, 10.0, 15.0)
        for target in (0.5, 1.0, 2.0)
    ),
    "kpa-whole": tuple(Tuning(kpa_concurrency=target) for target in (0.5, 1.0, 2.0, 5.0)),
}
"""What each policy is tuned over, ours by its risk knob: for each model, multiple and gate the cheapest that is seldom
enough late."""


def all_keys(policies: Iterable[str]) -> list[Key]:
    """Every case of some policies."""
    return list(product(BASES_MS, policies, ALLOWED, GATES))


def tuned(keys: Iterable[Key], runner: Runner) -> dict[Key, Tuning]:
    """The choice on the training seeds; where nothing is seldom enough late, what is late least."""
    jobs = [
        job((key, point), key, seed, tuning)
        for key in keys
        for point, tuning in enumerate(GRIDS[key[1]])
        for seed in TRAINING_SEEDS
    ]
    found = best_points(jobs, lambda key: (key[2], ALLOWED[key[2]]), runner)
    return {key: GRIDS[key[1]][point] for key, point in found.items()}


def best_points(jobs: Iterable[Job], goal: Callable[[Any], tuple[float, float]], runner: Runner) -> dict[Any, int]:
    """By case the place in its grid that does best; each job is labelled with both. ``goal``: SLO's multiple, late."""
    seen: dict[Any, dict[int, list[tuple[float, float]]]] = {}
    for outcome in work_all(jobs, runner):
        case, point = outcome.label
        late = outcome.result["violations"][f"{goal(case)[0]:g}"]
        seen.setdefault(case, {}).setdefault(point, []).append((late, outcome.result["mean_gpus"]))
    return {case: cheapest(points, MARGIN * goal(case)[1]) for case, points in seen.items()}


def cheapest(points: dict[int, list[tuple[float, float]]], allowed: float) -> int:
    """Of a grid's points, (late share, GPUs) by seed: the cheapest with so much late at most, else the least late."""
    means = {point: np.mean(figures, axis=0) for point, figures in points.items()}
    return min(means, key=lambda point: (max(float(means[point][0]), allowed), float(means[point][1])))


def job(label: tuple[object, ...], of: Key, seed: int, tuning: Tuning) -> Job:
    """One run of the authors' load with Poisson arrivals: model, policy, multiple, gate."""
    model, policy, multiple, gate = of
    return Job(
        label=label,
        functions=(authors_function(model, multiple),),
        arrivals={"f": authors_arrivals(seed)},
        horizon_s=HORIZON_S,
        policy=policy,
        gate=gate,  # type: ignore[arg-type]
        seed=seed,
        tuning=tuning,
    )


def run(seeds: Sequence[int], runner: Runner) -> dict[Key, list[Outcome]]:
    """By model, policy, multiple and gate, one outcome a seed."""
    choice = tuned(all_keys(GRIDS), runner)
    keys = all_keys(POLICIES)
    jobs = [job(key, key, seed, choice.get(key, Tuning())) for key in keys for seed in seeds]
    return by_label(work_all(jobs, runner))


def costs(found: dict[Key, list[Outcome]]) -> str:
    """Mean GPUs and late share by policy."""
    parts = []
    for gate in GATES:
        for multiple in (1.5, 2.0):
            lines = []
            for policy in POLICIES:
                line = [policy]
                for model in BASES_MS:
                    outcomes = found[model, policy, multiple, gate]
                    late = [100 * each.result["violations"][f"{multiple:g}"] for each in outcomes]
                    line.append(f"{shown(_gpus(outcomes))}, {interval(late)[0]:.2f} %")
                lines.append(line)
            parts.append(f"**{multiple:g}x, {gate}** (mean GPUs, late share)\n\n" + table(["policy", *BASES_MS], lines))
    return "\n\n".join(parts)


@dataclass(frozen=True)
class _Ours:
    """Ours on one model under one gate, against the goals."""

    gate: str
    model: str
    gpus: str
    ratio: float
    """Of rate-5s of the same run."""
    kserve: float
    """Times below two whole GPUs."""
    late: float
    late2: float
    p99: float
    """At 2x, as a multiple of the base."""
    failed: int

    @property
    def cheap(self) -> bool:
        """The goal of cost."""
        return self.ratio <= 1.15 and self.late <= ALLOWED[1.5]

    @property
    def in_time(self) -> bool:
        """The goal of latency."""
        return self.late <= ALLOWED[1.5] and self.late2 <= ALLOWED[2.0] and self.p99 <= 2.0 and not self.failed


def _ours_of(found: dict[Key, list[Outcome]], gate: str, model: str) -> _Ours:
    ours, rate = found[model, "hasgpu", 1.5, gate], found[model, "rate-5s", 1.5, gate]
    twice = found[model, "hasgpu", 2.0, gate]
    return _Ours(
        gate=gate,
        model=model,
        gpus=shown(_gpus(ours)),
        ratio=float(np.mean(_gpus(ours)) / np.mean(_gpus(rate))),
        kserve=2.0 / float(np.mean(_gpus(ours))),
        late=float(np.mean([each.result["violations"]["1.5"] for each in ours])),
        late2=float(np.mean([each.result["violations"]["2"] for each in twice])),
        p99=float(np.mean([each.result["latency_ms"]["p99"] for each in twice])) / BASES_MS[model],
        failed=sum(each.result["failed"] for each in (*ours, *twice)),
    )


def headline(found: dict[Key, list[Outcome]]) -> str:
    """Ours against the goals: the first table of "The authors' load" in docs/evaluation.md."""
    lines = [
        [
            ours.gate,
            ours.model,
            ours.gpus,
            f"{ours.ratio:.2f}x",
            f"{ours.kserve:.1f}x",
            f"{100 * ours.late:.2f} %",
            "met" if ours.cheap else "missed",
            f"{100 * ours.late2:.2f} %",
            f"{ours.p99:.2f}x",
            str(ours.failed),
        ]
        for ours in (_ours_of(found, gate, model) for gate in GATES for model in BASES_MS)
    ]
    head = [
        "gate", "model", "mean GPUs at 1.5x", "of rate-5s", "below KServe's 2.0", "late at 1.5x", "goal ≤ 1.15x, ≤ 1 %",
        "late at 2x (goal ≤ 0.5 %)", "P99 at 2x / base (goal ≤ 2x)", "failed",
    ]  # fmt: skip
    return table(head, lines)


BELOW_KSERVE = {"resnet50": 24.0, "mobilenet_v3_large": 54.0, "convnext_large": 4.4}


def verdicts(found: dict[Key, list[Outcome]]) -> list[Verdict]:
    """The goals on the authors' load; in each row resnet50 / mobilenet_v3_large / convnext_large."""
    told = []
    for gate in GATES:
        each = [_ours_of(found, gate, model) for model in BASES_MS]
        late2, late = (" / ".join(f"{100 * share:.2f}" for share in shares) for shares in (
            [ours.late2 for ours in each], [ours.late for ours in each]))  # fmt: skip
        p99 = " / ".join(f"{ours.p99:.2f}" for ours in each)
        told.append(
            Verdict(
                f"authors' load, {gate}: late at 2x, late at 1.5x, P99, failed",
                "≤ 0.5 %, ≤ 1 %, ≤ 2x, 0",
                f"{late2} %, {late} %, {p99}x, {sum(ours.failed for ours in each)}",
                all(ours.in_time for ours in each),
            )
        )
        dear = [ours.model for ours in each if not ours.cheap]
        told.append(
            Verdict(
                f"same, {gate}: mean GPUs at 1.5x over rate-5s, which knows the rate of each 5 s",
                "≤ 1.15x at ≤ 1 % late",
                " / ".join(f"{ours.ratio:.2f}" for ours in each) + "x (" + " / ".join(o.gpus for o in each) + ")",
                not dear,
                f"{', '.join(dear)}: ours moves its quota within seconds but its SM share was chosen by 25 cells; "
                "rate-5s searched shape and quotas on the truth over the whole run" if dear else "",
            )
        )  # fmt: skip
    each = [_ours_of(found, "gpu-time", model) for model in BASES_MS]
    short = [ours.model for ours in each if ours.kserve < BELOW_KSERVE[ours.model] or ours.late > ALLOWED[1.5]]
    rates = " / ".join(f"{2.0 / np.mean(_gpus(found[model, 'rate-5s', 1.5, 'gpu-time'])):.1f}" for model in BASES_MS)
    told.append(
        Verdict(
            "same, gpu-time: times below KServe's two GPUs at ≤ 1 % late",
            " / ".join(f"≥ {times:g}" for times in BELOW_KSERVE.values()),
            " / ".join(f"{ours.kserve:.1f}" for ours in each),
            not short,
            f"{', '.join(short)}: the goal's anchor was another study's; here rate-5s itself comes to {rates}"
            if short else "",
        )
    )  # fmt: skip
    return told


def first_table(found: dict[Key, list[Outcome]]) -> str:
    """Paper, recomputed from its logs, ours."""
    lines = [
        ["cost against KServe", "10.8x lower", "8.6–18.9x / 6.8x / 8.1x at 2–10 % late at 2x", _ours(found)],
        ["cost against FaST-GShare, mean", "1.72x lower", "1.74x lower", _against(found, "fast-gshare")],
        ["mean GPUs, resnet50 / mobilenet_v3 / convnext", "–", " / ".join(PUBLISHED.values()), _ours_gpus(found)],
    ]  # fmt: skip
    return table(["figure", "paper", "recomputed from its logs", "ours (simulated, 1.5x, gpu-time)"], lines)


def _ours(found: dict[Key, list[Outcome]]) -> str:
    ours = [found[model, "hasgpu", 1.5, "gpu-time"] for model in BASES_MS]
    return " / ".join(f"{2.0 / np.mean(_gpus(each)):.0f}x" for each in ours)


def _ours_gpus(found: dict[Key, list[Outcome]]) -> str:
    return " / ".join(f"{np.mean(_gpus(found[model, 'hasgpu', 1.5, 'gpu-time'])):.3f}" for model in BASES_MS)


def _against(found: dict[Key, list[Outcome]], rival: str) -> str:
    parts = []
    for model in BASES_MS:
        theirs, ours = found[model, rival, 1.5, "gpu-time"], found[model, "hasgpu", 1.5, "gpu-time"]
        late = float(np.mean([each.result["violations"]["1.5"] for each in theirs]))
        parts.append(f"{np.mean(_gpus(theirs)) / np.mean(_gpus(ours)):.2f}x at {100 * late:.0f} % late")
    return " / ".join(parts)


BESIDE = ("hasgpu", "kpa-static", "has-gpu-intended", "fast-gshare")
"""Compared under interference."""
PARTS = (0.0, 0.1, 0.2, 0.3)
"""How much longer an inference takes while all other SMs of its GPU are busy."""


def interference(seeds: Sequence[int], runner: Runner) -> tuple[str, Verdict]:
    """The headline while other rows of the GPU slow ours down: two functions share the GPUs."""
    choice = tuned([("convnext_large", policy, 2.0, "gpu-time") for policy in BESIDE], runner)
    knobs = {policy: tuning for (_, policy, _, _), tuning in choice.items()}
    jobs = [_pair(policy, part, seed, knobs[policy]) for part in PARTS for policy in BESIDE for seed in seeds]
    found = by_label(work_all(jobs, runner))
    late = {key: 100.0 * float(np.mean([e.result["violations"]["slo"] for e in mine])) for key, mine in found.items()}
    lines = [
        [f"{100 * part:.0f} %", *(f"{shown(_gpus(found[each, part]))}, {late[each, part]:.2f} %" for each in BESIDE)]
        for part in PARTS
    ]
    head = ["interference", *(f"{policy} (GPUs, late)" for policy in BESIDE)]
    ahead = {
        rival: [float(np.mean(_gpus(found[rival, part])) / np.mean(_gpus(found["hasgpu", part]))) for part in PARTS]
        for rival in BESIDE[1:]
    }
    turned = [rival for rival, times in ahead.items() if (times[0] > 1.0) != (times[2] > 1.0)]
    kept = not turned and late["hasgpu", PARTS[2]] <= 100.0 * ALLOWED[2.0]
    told = "; ".join(f"{rival} {' / '.join(f'{t:.2f}' for t in times)}x" for rival, times in ahead.items())
    return table(head, lines), Verdict(
        "interference 0 / 10 / 20 / 30 %: the rival's GPUs over ours",
        "same side of 1 at 20 % as at 0 %, ≤ 0.5 % late",
        f"{told}; ours late {late['hasgpu', PARTS[2]]:.2f} % at 20 %",
        kept,
        f"sign turns against {', '.join(turned)}" if turned else "",
    )


def _pair(policy: str, part: float, seed: int, tuning: Tuning) -> Job:
    one = authors_function("resnet50", 2.0)
    two = authors_function("convnext_large", 2.0)
    two = replace(two, key=RevisionKey("simulated", "g"))
    return Job(
        label=(policy, part),
        functions=(one, two),
        arrivals={"f": authors_arrivals(seed), "g": authors_arrivals(seed + 1000)},
        horizon_s=HORIZON_S,
        policy=policy,
        gpus=2,
        seed=seed,
        interference=part,
        tuning=replace(tuning, interference=max(0.05, part)),
    )


def _gpus(outcomes: Sequence[Outcome]) -> list[float]:
    return [each.result["mean_gpus"] for each in outcomes]
