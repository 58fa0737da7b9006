"""Evaluation: how many GPUs placement needs against a lower bound."""

from __future__ import annotations

import math

import numpy as np
from hasgpu.decision.ledger import Ledger
from hasgpu.model.gpu import Placement
from hasgpu.model.keys import PodKey, RevisionKey
from hasgpu.simulator.policies.fixed_slice import fitted
from hasgpu.simulator.run import simulated_gpus

from .data import PRODUCT

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
