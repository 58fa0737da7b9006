"""Evaluation: a row's time as fixed slots, as tokens usable any time in the row, and with idle slots lent to mates.

A row is simulated exactly, event by event, with its mates at their own loads: one pod runs at a time. ``slots`` runs
the owner of the slot; ``token`` gives each pod qW of busy time a window, usable whenever the row is free; ``borrow``
is slots whose owner, having no work, lends the row to the mate that has waited longest. Borrowed time is billed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from hasgpu.decision.timetable import to_slots, windows_needed
from hasgpu.simulator.workload import Floats

from .data import BASES_MS, OVERHEAD_S, authors_arrivals, truth_of
from .job import shown, table
from .runner import Runner
from .targets import Verdict

Mode = Literal["slots", "token", "borrow"]
MODES: tuple[Mode, ...] = ("slots", "token", "borrow")
PODS = (1, 2, 3)
WINDOW_S, LATE = 0.04, 0.01
SHAPES = {"resnet50": 5, "mobilenet_v3_large": 5, "convnext_large": 30}


@dataclass
class _Mate:
    arrivals: list[float]
    work_s: float
    budget_s: float
    next: int = 0
    queue: list[float] = field(default_factory=list)
    left_s: float = 0.0
    tokens_s: float = 0.0
    borrowed_s: float = 0.0
    taken: list[float] = field(default_factory=list)

    def has_work(self) -> bool:
        return bool(self.queue)


def serve(arrivals: Sequence[Floats], work_s: Sequence[float], quotas: Sequence[int], mode: Mode) -> list[_Mate]:
    """The row until all requests are done."""
    windows = max(windows_needed(quota, round(WINDOW_S * 1e9)) for quota in quotas)
    circle_s = WINDOW_S * (windows if mode != "token" else 1)
    mates = [
        _Mate(list(map(float, each)), work, quota / 100.0 * circle_s)
        for each, work, quota in zip(arrivals, work_s, quotas, strict=True)
    ]
    marks = _marks(quotas, windows) if mode != "token" else [(0.0, -1)]
    now, turn = 0.0, 0
    while any(mate.queue or mate.next < len(mate.arrivals) for mate in mates):
        begin, owner = marks[turn % len(marks)]
        if turn % len(marks) == 0:
            for mate in mates:
                mate.tokens_s = mate.budget_s
        turn += 1
        after = marks[turn % len(marks)][0]
        until = now - begin + (after if turn % len(marks) else circle_s)
        _span(mates, owner, now, until, mode)
        now = until
    return mates


def _marks(quotas: Sequence[int], windows: int) -> list[tuple[float, int]]:
    """(start, owner) of every span of the circle, gaps with owner -1."""
    slots = to_slots([(str(n), quota) for n, quota in enumerate(quotas)], windows, round(WINDOW_S * 1e9))
    spans = sorted((slot.start_ns / 1e9, slot.end_ns / 1e9, int(uid)) for uid, each in slots.items() for slot in each)
    marks, at = [], 0.0
    for start, end, owner in spans:
        if start > at + 1e-9:
            marks.append((at, -1))
        marks.append((start, owner))
        at = end
    if at < windows * WINDOW_S - 1e-9:
        marks.append((at, -1))
    return marks


def _span(mates: list[_Mate], owner: int, now: float, until: float, mode: Mode) -> None:
    """One span with one owner (or none, or all)."""
    while now < until - 1e-12:
        for mate in mates:
            _arrive(mate, now)
        coming = min((mate.arrivals[mate.next] for mate in mates if mate.next < len(mate.arrivals)), default=until)
        runs = _runner(mates, owner, mode)
        if runs is None:
            now = min(until, max(coming, now + 1e-9))
            continue
        mate = mates[runs]
        end = min(until, now + mate.left_s)
        if mode == "token":
            end = min(end, now + mate.tokens_s)
        elif mode == "borrow" and runs != owner:
            # The owner gets its slot back as soon as it has work.
            end = min(end, max(coming, now + 1e-9))
        ran = end - now
        mate.left_s -= ran
        mate.tokens_s -= ran
        if mode == "borrow" and runs != owner:
            mate.borrowed_s += ran
        now = end
        if mate.left_s <= 1e-12:
            mate.taken.append(now - mate.queue.pop(0))
            mate.left_s = mate.work_s


def _arrive(mate: _Mate, now: float) -> None:
    while mate.next < len(mate.arrivals) and mate.arrivals[mate.next] <= now + 1e-12:
        if not mate.queue:
            mate.left_s = mate.work_s
        mate.queue.append(mate.arrivals[mate.next])
        mate.next += 1


def _runner(mates: list[_Mate], owner: int, mode: Mode) -> int | None:
    if mode != "token" and owner >= 0 and mates[owner].has_work():
        return owner
    if mode == "slots":
        return None
    able = [n for n, mate in enumerate(mates) if mate.has_work() and (mode == "borrow" or mate.tokens_s > 1e-12)]
    return min(able, key=lambda n: mates[n].queue[0], default=None)


@dataclass(frozen=True)
class Case:
    """Pods of one model in a row."""

    model: str
    pods: int
    mode: Mode
    seed: int


def report(seeds: Sequence[int], runner: Runner) -> tuple[str, Verdict]:
    """For each model and number of mates the least equal quota at which at most 1 % are late at 2x, and its bill."""
    cases = [Case(model, pods, mode, seed) for model in SHAPES for pods in PODS for mode in MODES for seed in seeds]
    found: dict[tuple[str, int, Mode], list[tuple[int, float]]] = {}
    for case, least in zip(cases, runner.map(_least, cases), strict=True):
        found.setdefault((case.model, case.pods, case.mode), []).append(least)
    lines = [
        [model, str(pods), *(_shown(found[model, pods, mode]) for mode in MODES)] for model in SHAPES for pods in PODS
    ]
    alone = {mode: [np.mean([bill for _, bill in found[model, 1, mode]]) for model in SHAPES] for mode in MODES}
    times = {
        mode: " / ".join(f"{a / b:.2f}" for a, b in zip(alone["slots"], alone[mode], strict=True)) for mode in MODES
    }
    verdict = Verdict(
        "slots of a window or tokens usable any time in the row, row mates simulated",
        "the winner is the default",
        f"one pod in the row, {' / '.join(SHAPES)}: tokens {times['token']}x cheaper, slots lent {times['borrow']}x",
        False,
        "tokens are cheaper by what a pod gains from the row's free time, and give no promise of when; slots are the"
        " default, and the same gain and more comes with row-policy: borrow",
    )
    return table(["model", "pods in the row", "slots: GPUs a pod", "token", "borrow, billed"], lines), verdict


def _shown(found: Sequence[tuple[int, float]]) -> str:
    bills = [bill for _, bill in found]
    return "–" if any(np.isnan(bills)) else f"{shown(bills, 4)} (q {np.mean([quota for quota, _ in found]):.0f} %)"


def _least(case: Case) -> tuple[int, float]:
    pods, mode, sm = case.pods, case.mode, SHAPES[case.model]
    arrivals = [authors_arrivals(case.seed + 100 * n) for n in range(pods)]
    work = [truth_of(case.model).work_s(1, sm)] * pods
    limit_s = 2 * BASES_MS[case.model] / 1000.0 - OVERHEAD_S
    low, high = 5, 100 // pods
    if _late(serve(arrivals, work, [high] * pods, mode), limit_s) > LATE:
        return high, float("nan")
    while low < high:
        middle = (low + high) // 2
        if _late(serve(arrivals, work, [middle] * pods, mode), limit_s) <= LATE:
            high = middle
        else:
            low = middle + 1
    borrowed_s = sum(mate.borrowed_s for mate in serve(arrivals, work, [low] * pods, mode)) / pods
    return low, sm / 100.0 * (low / 100.0 + borrowed_s / 250.0)


def _late(mates: Sequence[_Mate], limit_s: float) -> float:
    return float(np.mean([taken > limit_s for mate in mates for taken in mate.taken]))
