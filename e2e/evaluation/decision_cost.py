"""Evaluation: what a full pass of decisions costs: one ledger, every revision tells its needs and is decided once.

A pass as class has makes it, after many of its like: on a copy of the books, with what all needed last told before,
with the states that the last pass has left, and with garbage collected as in the autoscaler. Not in it is what has to
do with objects of the API server and stats (`make bench-autoscaler` has that).
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import time
from concurrent.futures import ProcessPoolExecutor

import numpy as np
from hasgpu.autoscaler.garbage import kept_for_good
from hasgpu.decision.demand import RevisionLoad
from hasgpu.decision.hybrid import HybridState, RevisionView, decide
from hasgpu.decision.ledger import Ledger
from hasgpu.decision.need import Need
from hasgpu.decision.placement import Chosen, SliceWish, choose_slice
from hasgpu.decision.policy import Policy
from hasgpu.decision.row_needs import tell_needs
from hasgpu.model.decision import Decision
from hasgpu.model.gpu import GpuSlice, Placement
from hasgpu.model.keys import PodKey, RevisionKey
from hasgpu.simulator.believed import Belief, wish_of
from hasgpu.simulator.run import simulated_gpus

from .data import PRODUCT, authors_function
from .job import table
from .targets import Verdict

CASES = ((1000, 1000, 200, 100.0), (10000, 5000, 20, 1500.0))
"""Revisions, GPUs, passes, milliseconds at most."""
MOST_MIB = 512.0
RATES = (0.5, 20.0)
"""Requests/s of a revision."""
NOISE = 0.2
"""Of the rates, from pass to pass."""
FIRST = 10
"""Passes before: revisions that have only begun haven't met their peaks yet, and many scale out at once."""
TOGETHER = 100
"""GPUs whose pods were placed together, as those of a zone."""


def decision_cost() -> tuple[str, list[Verdict]]:
    """The table and the goals; each case in a process of its own, so that its memory is its own."""
    lines, told = [], []
    for revisions, gpus, passes, most_ms in CASES:
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as alone:
            wall_ms, cpu_ms, peak_mib = alone.submit(_case, revisions, gpus, passes).result()
        figures = [f"{np.median(wall_ms):.0f}", f"{np.percentile(wall_ms, 99):.0f}", f"{np.percentile(cpu_ms, 99):.0f}"]
        lines.append(
            [f"{revisions} x {gpus}", str(passes), *(f"{each} ms" for each in figures), f"{peak_mib:.0f} MiB",
             f"≤ {most_ms:.0f} ms"]
        )  # fmt: skip
        told.append(
            Verdict(
                f"decision cost: full pass of {revisions} functions x {gpus} GPUs",
                f"≤ {most_ms:.0f} ms p99, RSS ≤ {MOST_MIB:.0f} MB",
                f"p99 {figures[1]} ms (median {figures[0]}; CPU time p99 {figures[2]}), RSS {peak_mib:.0f} MiB",
                bool(np.percentile(wall_ms, 99) <= most_ms and peak_mib <= MOST_MIB),
                f"measured at a load of {os.getloadavg()[0]:.0f} on {os.cpu_count()} cores",
            )
        )
    head = ["revisions x GPUs", "passes", "median", "p99", "p99 of CPU time", "peak memory", "goal"]
    return table(head, lines), told


def _case(revisions: int, gpus: int, passes: int) -> tuple[list[float], list[float], float]:
    """Milliseconds of wall clock and of CPU time by pass, MiB at most."""
    belief = Belief(product=PRODUCT, gate="gpu-time", free=0.0)
    leader = Leader(revisions, gpus, wish_of(authors_function("resnet50", 2.0), belief))
    with kept_for_good():
        for number in range(FIRST):
            leader.decide_all(number)
    taken = [leader.decide_all(number) for number in range(FIRST, FIRST + passes)]
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0
    return [1000.0 * wall for wall, _ in taken], [1000.0 * cpu for _, cpu in taken], peak_mib


class Leader:
    """Decides for all each second, as class has does; whatever it decides is there before the next pass."""

    def __init__(self, revisions: int, gpus: int, wish: SliceWish) -> None:
        self._wish, self._policy, self._made = wish, Policy(), 0
        self._chance = np.random.default_rng(revisions)
        self._rates = self._chance.uniform(*RATES, size=revisions)
        self._revisions = [RevisionKey("n", f"r{number}") for number in range(revisions)]
        self._states = dict.fromkeys(self._revisions, HybridState())
        self._needs: dict[RevisionKey, tuple[Need, ...]] = {}
        devices = simulated_gpus(gpus, PRODUCT)
        self.books = Ledger(devices, ())
        each = revisions * TOGETHER // gpus
        for block in range(gpus // TOGETHER):
            books = Ledger(devices[block * TOGETHER : (block + 1) * TOGETHER], ())
            for number in range(block * each, (block + 1) * each):
                self._place(books, self._revisions[number], float(self._rates[number]))

    def _place(self, books: Ledger, key: RevisionKey, requests_per_s: float) -> None:
        policy = self._policy
        found = choose_slice(
            books,
            self._wish,
            requests_per_s,
            headroom=policy.headroom,
            unprofiled_sm_percent=policy.unprofiled_sm_percent,
        )
        assert isinstance(found, Chosen)
        books.enter(self._enter(key, found.slice))

    def decide_all(self, number: int) -> tuple[float, float]:
        """Seconds of wall clock and of CPU time."""
        noise = self._chance.normal(1.0, NOISE, size=len(self._rates)).clip(0.0)
        loads = [_load(float(rate)) for rate in self._rates * noise]
        policy, now, decisions = self._policy, 100.0 + number, []
        started, cpu = time.perf_counter(), time.process_time()
        ledger = self.books.copy()
        for needs in self._needs.values():
            for need in needs:
                ledger.tell(need)
        for key, load in zip(self._revisions, loads, strict=True):
            placements = ledger.placements_of(key)
            view = RevisionView(
                key=key,
                wish=self._wish,
                slo_latency_s=0.168,
                load=load,
                placements=placements,
                plans=(),
                replicas=len(placements),
            )
            tell_needs(view, ledger, self._states[key], policy, now)
            told = (ledger.need_of(each.pod) for each in placements)
            self._needs[key] = tuple(need for need in told if need is not None)
            decision, self._states[key] = decide(view, ledger, self._states[key], policy, now)
            decisions.append(decision)
        taken = time.perf_counter() - started, time.process_time() - cpu
        for decision in decisions:
            self._carry_out(decision)
        return taken

    @property
    def told(self) -> int:
        """Pods that told a need in the last pass: those in rows that others may ask for."""
        return sum(map(len, self._needs.values()))

    def quotas(self) -> dict[PodKey, int]:
        """In percent, of all pods."""
        return {pod.pod: pod.slice.time_quota.percent for books in self.books.gpus() for pod in books.placements()}

    def _carry_out(self, decision: Decision) -> None:
        for change in decision.quota_changes:
            self._enter(decision.key, change.new, change.pod)
        for plan in decision.plans:
            self._enter(decision.key, plan)
        for victim in decision.victims:
            self.books.leave(victim)

    def _enter(self, key: RevisionKey, entry: GpuSlice, pod: PodKey | None = None) -> Placement:
        """Laid, acknowledged and ready."""
        self._made += 1
        placement = Placement(
            pod=pod or PodKey("n", f"p{self._made}", f"u{self._made}"),
            revision=key,
            slice=entry,
            ready=True,
            applied_generation=entry.generation,
            applied_quota_percent=entry.time_quota.percent,
        )
        self.books.enter(placement)
        return placement


def _load(requests_per_s: float) -> RevisionLoad:
    return RevisionLoad(
        known=True,
        soon_requests_per_s=requests_per_s,
        startup_requests_per_s=requests_per_s,
        in_flight=0.0,
        active=True,
        idle_s=0.0,
    )
