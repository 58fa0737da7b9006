"""Evaluation: what a full pass of decisions costs: one ledger, every revision decided once."""

from __future__ import annotations

import os
import resource
import time
from concurrent.futures import ProcessPoolExecutor

import numpy as np
from hasgpu.decision.demand import RevisionLoad
from hasgpu.decision.hybrid import HybridState, RevisionView, decide
from hasgpu.decision.ledger import Ledger
from hasgpu.decision.policy import Policy
from hasgpu.model.gpu import GpuSlice, Placement
from hasgpu.model.keys import PodKey, RevisionKey
from hasgpu.model.units import SmPartition, TimeQuota
from hasgpu.simulator.believed import Belief, wish_of
from hasgpu.simulator.run import simulated_gpus

from .data import PRODUCT, authors_function
from .job import table
from .targets import Verdict

CASES = ((1000, 1000, 50, 100.0), (10000, 5000, 5, 1500.0))
"""Revisions, GPUs, passes, milliseconds at most."""
MOST_MIB = 512.0


def decision_cost() -> tuple[str, list[Verdict]]:
    """The table and the goals; each case in a process of its own, so that its memory is its own."""
    lines, told = [], []
    for revisions, gpus, passes, most_ms in CASES:
        with ProcessPoolExecutor(1) as alone:
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
    taken = [_pass_s(revisions, gpus, number) for number in range(passes)]
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0
    return [1000.0 * wall for wall, _ in taken], [1000.0 * cpu for _, cpu in taken], peak_mib


def _pass_s(revisions: int, gpus: int, number: int) -> tuple[float, float]:
    belief = Belief(product=PRODUCT, gate="gpu-time", free=0.0)
    wish = wish_of(authors_function("resnet50", 2.0), belief)
    devices = simulated_gpus(gpus, PRODUCT)
    placements = []
    for index in range(revisions):
        entry = GpuSlice(
            gpu_uuid=devices[index % gpus].uuid,
            row=index // gpus,
            sm_partition=SmPartition(10),
            time_quota=TimeQuota(60),
            memory_bytes=2 << 30,
            generation=1,
        )
        key = RevisionKey("n", f"r{index}")
        placements.append(
            Placement(pod=PodKey("n", f"p{index}", f"u{index}"), revision=key, slice=entry, ready=True,
                      applied_generation=1, applied_quota_percent=60)
        )  # fmt: skip
    chance = np.random.default_rng(number)
    rates = chance.uniform(0.5, 20.0, size=revisions)
    policy, started, cpu = Policy(), time.perf_counter(), time.process_time()
    ledger = Ledger(devices, placements)
    for placement, rate in zip(placements, rates, strict=True):
        view = RevisionView(
            key=placement.revision,
            wish=wish,
            slo_latency_s=0.168,
            load=RevisionLoad(
                known=True,
                soon_requests_per_s=float(rate),
                startup_requests_per_s=float(rate),
                in_flight=0.0,
                active=True,
                idle_s=0.0,
            ),
            placements=(placement,),
            plans=(),
            replicas=1,
        )
        decide(view, ledger, HybridState(), policy, 100.0)
    return time.perf_counter() - started, time.process_time() - cpu
