"""Evaluation: how many GPUs placement needs against a lower bound, and how many are freed by planned moves."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from hasgpu.decision.defragmentation import moved, plan_to_free_a_gpu
from hasgpu.decision.ledger import Ledger
from hasgpu.decision.placement import SliceWish
from hasgpu.model.gpu import Placement
from hasgpu.model.keys import PodKey, RevisionKey
from hasgpu.model.units import QuotaBounds, TimeQuota
from hasgpu.simulator.policies.fixed_slice import fitted
from hasgpu.simulator.run import simulated_gpus

from .data import PRODUCT

MEMORY = 16 << 30
ANYWHERE = SliceWish(
    sm_partition=None,
    quota=QuotaBounds(low=TimeQuota(5), high=TimeQuota(100)),
    memory_bytes=0,
    processes=1,
    gpu_product=None,
    nodes=None,
    tables={},
)


def packing(instances: int) -> str:
    """Random slices placed one after the other, as they come; then moved for as long as that frees a GPU."""
    chance = np.random.default_rng(7)
    ratios, moved_ratios, over, operations, moves = [], [], 0, 0, 0
    for _ in range(instances):
        count = int(chance.integers(50, 501))
        widths = chance.choice([5, 10, 20, 25, 40, 50, 60, 100], size=count)
        quotas = chance.integers(5, 101, size=count)
        memories = chance.choice([1, 2, 4], size=count).astype(int) << 30
        ledger = _placed(widths, quotas, memories)
        over += len(ledger.over_committed())
        operations += count
        rows = [int(w) for w in np.unique(widths) for _ in range(least_bins([int(q) for q in quotas[widths == w]]))]
        bound = max(least_bins(rows), math.ceil(int(memories.sum()) / MEMORY), 1)
        ratios.append(_used(ledger) / bound)
        ledger, needed = _freed(ledger)
        over += len(ledger.over_committed())
        moves += needed
        moved_ratios.append(_used(ledger) / bound)
    return (
        f"{instances} random instances of 50–500 pods, {operations} placements: {_spread(ratios)} where pods come one"
        f" after the other and are never moved (goal ≤ 1.05x), {_spread(moved_ratios)} after planned moves, each plan"
        f" freeing a GPU, {100 * moves / operations:.1f} moves for 100 pods; {over} over-commitments. The bound is"
        " Martello and Toth's L2, for quotas into rows of one width and for rows into GPUs, or memory where that needs"
        " more. The moves are planned only: nothing carries them out."
    )


def _spread(ratios: list[float]) -> str:
    most, p95 = max(ratios), np.percentile(ratios, 95)
    return f"{np.mean(ratios):.3f}x the lower bound on average, P95 {p95:.3f}x, most {most:.3f}x"


def _used(ledger: Ledger) -> int:
    return sum(1 for books in ledger.gpus() if books.rows)


def _freed(ledger: Ledger) -> tuple[Ledger, int]:
    """The books once no more moves free a GPU, and how many were made."""
    pods = [replace(pod, ready=True) for books in ledger.gpus() for pod in books.placements()]
    ledger, made = Ledger((books.gpu for books in ledger.gpus() if books.rows), pods), 0
    wishes = {pod.revision: ANYWHERE for pod in pods}
    while (plan := plan_to_free_a_gpu(ledger, wishes, len(pods))) is not None:
        ledger, made = moved(ledger, plan.moves), made + len(plan.moves)
    return ledger, made


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


def _placed(widths: np.ndarray, quotas: np.ndarray, memories: np.ndarray) -> Ledger:  # type: ignore[type-arg]
    gpus = simulated_gpus(len(widths), PRODUCT)
    ledger = Ledger(gpus, ())
    for number, (width, quota, memory) in enumerate(zip(widths, quotas, memories, strict=True)):
        # GPUs are opened one at a time: the free ones all look alike.
        found = fitted(ledger, int(width), int(quota), int(memory))
        assert found is not None
        key = PodKey("n", f"p{number}", f"u{number}")
        ledger.take(Placement(pod=key, revision=RevisionKey("n", f"r{number}"), slice=found))
    return ledger
