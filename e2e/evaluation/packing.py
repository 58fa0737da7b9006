"""Evaluation: how many GPUs placement needs against a lower bound, and what a full pass of decisions costs."""

from __future__ import annotations

import math
import resource
import time

import numpy as np
from hasgpu.decision.demand import RevisionLoad
from hasgpu.decision.hybrid import HybridState, RevisionView, decide
from hasgpu.decision.ledger import Ledger
from hasgpu.decision.policy import Policy
from hasgpu.model.gpu import GpuSlice, Placement
from hasgpu.model.keys import PodKey, RevisionKey
from hasgpu.model.units import SmPartition, TimeQuota
from hasgpu.simulator.believed import Belief, wish_of
from hasgpu.simulator.policies.fixed_slice import fitted
from hasgpu.simulator.run import simulated_gpus

from .data import PRODUCT, authors_function
from .job import table

MEMORY = 16 << 30


def packing(instances: int) -> str:
    """Random slices placed one after the other, as they come."""
    chance = np.random.default_rng(7)
    ratios, over, operations = [], 0, 0
    for _ in range(instances):
        count = int(chance.integers(50, 501))
        widths = chance.choice([5, 10, 20, 25, 40, 50, 60, 100], size=count)
        quotas = chance.integers(5, 101, size=count)
        memories = chance.choice([1, 2, 4], size=count).astype(int) << 30
        used = _placed(widths, quotas, memories)
        ledger, gpus = used
        over += len(ledger.over_committed())
        operations += count
        rows = [int(w) for w in np.unique(widths) for _ in range(least_bins([int(q) for q in quotas[widths == w]]))]
        bound = max(least_bins(rows), math.ceil(int(memories.sum()) / MEMORY), 1)
        ratios.append(gpus / bound)
    return (
        f"{instances} random instances of 50–500 pods, {operations} placements: {np.mean(ratios):.3f}x the lower bound"
        f" on average, P95 {np.percentile(ratios, 95):.3f}x, most {max(ratios):.3f}x (goal ≤ 1.05x);"
        f" {over} over-commitments. The bound is Martello and Toth's L2, for quotas into rows of one width and for rows"
        " into GPUs, or memory where that needs more; pods come one after the other and are never moved."
    )


def least_bins(sizes: list[int], capacity: int = 100) -> int:
    """L2: bins that any packing needs; for each threshold, large items each take a bin and small ones fill the rest."""
    best = 0
    for small in {0, *(size for size in sizes if 2 * size <= capacity)}:
        alone = sum(1 for size in sizes if size > capacity - small)
        halves = [size for size in sizes if capacity - small >= size > capacity / 2]
        rest = sum(size for size in sizes if small <= size <= capacity / 2)
        spare = len(halves) * capacity - sum(halves)
        best = max(best, alone + len(halves) + max(0, math.ceil((rest - spare) / capacity)))
    return best


def _placed(widths: np.ndarray, quotas: np.ndarray, memories: np.ndarray) -> tuple[Ledger, int]:  # type: ignore[type-arg]
    gpus = simulated_gpus(len(widths), PRODUCT)
    ledger = Ledger(gpus, ())
    used: set[str] = set()
    for number, (width, quota, memory) in enumerate(zip(widths, quotas, memories, strict=True)):
        # GPUs are opened one at a time: the free ones all look alike.
        found = fitted(ledger, int(width), int(quota), int(memory))
        assert found is not None
        key = PodKey("n", f"p{number}", f"u{number}")
        ledger.take(Placement(pod=key, revision=RevisionKey("n", f"r{number}"), slice=found))
        used.add(found.gpu_uuid)
    return ledger, len(used)


def decision_cost() -> str:
    """Wall time of a full pass: one ledger, every revision decided once."""
    lines = []
    for revisions, gpus, passes in ((1000, 1000, 12), (10000, 5000, 3)):
        taken = sorted(_pass_s(revisions, gpus, number) for number in range(passes))
        lines.append(
            [
                f"{revisions} x {gpus}",
                f"{1000 * taken[len(taken) // 2]:.0f} ms",
                f"{1000 * taken[-1]:.0f} ms",
                "≤ 100 ms" if revisions == 1000 else "≤ 1500 ms",
            ]
        )
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0
    return table(["revisions x GPUs", "median", "slowest", "goal"], lines) + f"\n\nPeak memory {peak_mib:.0f} MiB."


def _pass_s(revisions: int, gpus: int, number: int) -> float:
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
    policy, started = Policy(), time.perf_counter()
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
    return time.perf_counter() - started
