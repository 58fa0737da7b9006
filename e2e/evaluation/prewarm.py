"""Evaluation: what a season is worth: `python -m e2e.evaluation.prewarm`: days that the fit has not seen."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from hasgpu.fitter.season import fit_season
from hasgpu.prediction.season import SLOT_S, LoadHistory, Season
from hasgpu.simulator.policies.registry import Tuning
from hasgpu.simulator.workload import Floats, generator

from .data import authors_function, thinned_poisson, twitter
from .job import Job, Outcome, by_label, table, work_all
from .runner import Runner
from .targets import Verdict

DAY_S = 86400
DAYS_FITTED, DAYS_UNSEEN = (0, 1, 2, 3, 4), (5, 6)
SESSIONS_H = (8.0, 12.5, 18.0)
SESSION_S = 1500.0
JITTER_S = 90.0
"""No session begins on the second: each is early or late by at most so much."""
AROUND_S = 900.0
"""Simulated before and after each session; between them nothing happens."""
STARTUPS_S = (2.0, 8.0, 30.0)
WITH, WITHOUT = "season", "no season"
HOLIDAY = "a day without load"


@dataclass(frozen=True, kw_only=True)
class Pattern:
    """Sessions of a day that take the Twitter trace's rate of their hour, scaled, above what is always there."""

    name: str
    model: str
    within_per_s: float
    between_per_s: float


PATTERNS = (
    Pattern(name="from zero", model="resnet50", within_per_s=3.0, between_per_s=0.0),
    Pattern(name="from 1/s", model="convnext_large", within_per_s=10.0, between_per_s=1.0),
)


def rates(pattern: Pattern, day: int, *, holiday: bool = False) -> Floats:
    """Requests/s of each second of a day."""
    chance = generator(day, pattern.name, "sessions")
    load = twitter()[day * DAY_S : (day + 1) * DAY_S]
    found = np.full(DAY_S, pattern.between_per_s)
    for hour in SESSIONS_H:
        first = int(hour * 3600.0 + chance.uniform(-JITTER_S, JITTER_S))
        within = slice(first, first + int(SESSION_S))
        found[within] = load[within] / load.mean() * pattern.within_per_s
    return found * (0.0 if holiday else 1.0)


@lru_cache(maxsize=10)
def season_of(pattern: Pattern) -> Season | None:
    """From five days, as the fitter makes it of what the autoscaler records."""
    history = LoadHistory()
    for day in DAYS_FITTED:
        counts = generator(day, pattern.name, "history").poisson(rates(pattern, day))
        for number, mean in enumerate(counts.reshape(-1, int(SLOT_S)).mean(axis=1)):
            history = history.recorded(day * DAY_S // int(SLOT_S) + number, float(mean))
    return fit_season(history)


def prewarm(seeds: Sequence[int], runner: Runner) -> tuple[str, list[Verdict]]:
    """Days that no fit has seen, with the season and without it."""
    cases = [(pattern, startup_s, False) for pattern in PATTERNS for startup_s in STARTUPS_S]
    cases.append((PATTERNS[0], STARTUPS_S[1], True))
    jobs = [job for case in cases for kind in (WITH, WITHOUT) for seed in seeds for job in _jobs(kind, seed, *case)]
    found = by_label(work_all(jobs, runner))
    lines = [_line(label, outcomes, len(seeds)) for label, outcomes in found.items()]
    head = ["load", "start-up", "", "met a cold start", "late at 2x", "GPU-seconds a day"]
    return table(head, lines), [_verdict(found, startup_s) for startup_s in STARTUPS_S]


def _jobs(kind: str, seed: int, pattern: Pattern, startup_s: float, holiday: bool) -> list[Job]:
    """One for each session of each unseen day."""
    jobs = []
    for day in DAYS_UNSEEN:
        load = rates(pattern, day, holiday=holiday)
        for hour in SESSIONS_H:
            first = int(hour * 3600.0 - AROUND_S)
            window = load[first : first + int(SESSION_S + 2 * AROUND_S)]
            began_s = float(day * DAY_S + first)
            tuning = Tuning(season=season_of(pattern) if kind == WITH else None, began_s=began_s)
            jobs.append(
                Job(
                    label=(HOLIDAY if holiday else pattern.name, startup_s, kind),
                    functions=(replace(authors_function(pattern.model, 2.0), startup_s=startup_s, min_scale=0),),
                    arrivals={"f": thinned_poisson(window, 1000 * seed + day, f"{pattern.name} {hour}")},
                    horizon_s=float(len(window)),
                    policy="hasgpu",
                    seed=seed,
                    tuning=tuning,
                )
            )
    return jobs


def _line(label: tuple[str, float, str], outcomes: Sequence[Outcome], seeds: int) -> list[str]:
    requests = sum(each.result["requests"] for each in outcomes)
    seconds = sum(each.result["gpu_seconds"]["allocated"] for each in outcomes) / (seeds * len(DAYS_UNSEEN))
    if not requests:
        return [label[0], f"{label[1]:g} s", label[2], "–", "–", f"{seconds:.0f}"]
    late = sum(each.result["violations"]["2"] * each.result["requests"] for each in outcomes)
    each = len(outcomes) // seeds
    by_seed = [_cold(outcomes[first : first + each]) for first in range(0, len(outcomes), each)]
    cold = f"{' + '.join(map(str, by_seed))} of {requests}"
    share = f"{100 * late / requests:.2f} %"
    return [label[0], f"{label[1]:g} s", label[2], cold, share, f"{seconds:.0f}"]


def _cold(outcomes: Sequence[Outcome]) -> int:
    return sum(each.result["cold_starts"] for each in outcomes)


def _verdict(found: dict[tuple[str, float, str], list[Outcome]], startup_s: float) -> Verdict:
    name = PATTERNS[0].name
    mine, theirs = found[name, startup_s, WITH], found[name, startup_s, WITHOUT]
    used, base = (sum(each.result["gpu_seconds"]["allocated"] for each in of) for of in (mine, theirs))
    return Verdict(
        f"pre-warming by the season, unseen days, start-up {startup_s:g} s",
        "fewer cold starts than without",
        f"{_cold(mine)} against {_cold(theirs)} requests, for {100 * (used / base - 1):+.0f} % GPU-seconds",
        _cold(mine) < _cold(theirs),
    )


def main() -> None:
    """Prints the table of docs/rapp.md."""
    parser = argparse.ArgumentParser(prog="python -m e2e.evaluation.prewarm")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    options = parser.parse_args()
    began_s = time.monotonic()
    # Apart from what `make evaluate` keeps, which forgets its own when it is done.
    with Runner(options.jobs, Path(__file__).parents[2] / "build/prewarm") as runner:
        text, verdicts = prewarm(range(1, options.seeds + 1), runner)
        print(text)
        for verdict in verdicts:
            print(f"{verdict.experiment}: {verdict.found}")
        print(f"{time.monotonic() - began_s:.0f} s, {runner.cpu_s:.0f} of CPU time, {runner.worked} simulations")


if __name__ == "__main__":
    main()
