"""Evaluation: how many GPUs placement needs against a lower bound, and how many are freed by planned moves.

``python -m e2e.evaluation.packing --instances 1000 --operations 1000000``: the same on more instances, and that random
operations never over-commit.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from hasgpu.decision.defragmentation import moved, plan_to_free_a_gpu
from hasgpu.decision.ledger import Ledger
from hasgpu.model.gpu import Placement
from hasgpu.model.keys import PodKey, RevisionKey
from hasgpu.simulator.policies.fixed_slice import fitted
from hasgpu.simulator.run import simulated_gpus

from .data import PRODUCT
from .operations import WIDTHS, operations
from .wishes import ANYWHERE

MEMORY = 16 << 30
SEED = 7
Sizes = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """One instance."""

    pods: int
    bound: int
    used: int
    """GPUs that are used where pods come one after the other."""
    used_after: int
    """The same once no more moves free a GPU."""
    moves: int
    over_committed: int


def packing(instances: int, processes: int = 1) -> str:
    """Random slices placed one after the other, as they come; then moved for as long as that frees a GPU."""
    if processes == 1:
        return _told([packed(number) for number in range(instances)])
    with ProcessPoolExecutor(processes) as pool:
        return _told(list(pool.map(packed, range(instances), chunksize=4)))


def packed(number: int) -> Packed:
    """The instance of that number."""
    chance = np.random.default_rng([SEED, number])
    count = int(chance.integers(50, 501))
    widths = chance.choice(WIDTHS, size=count)
    quotas = chance.integers(5, 101, size=count)
    memories = chance.choice([1, 2, 4], size=count).astype(int) << 30
    ledger = _placed(widths, quotas, memories)
    rows = [int(w) for w in np.unique(widths) for _ in range(least_bins([int(q) for q in quotas[widths == w]]))]
    after, moves = _freed(ledger)
    return Packed(
        pods=count,
        bound=max(least_bins(rows), math.ceil(int(memories.sum()) / MEMORY), 1),
        used=_used(ledger),
        used_after=_used(after),
        moves=moves,
        over_committed=len(ledger.over_committed()) + len(after.over_committed()),
    )


def _told(all_packed: Sequence[Packed]) -> str:
    pods, over = sum(each.pods for each in all_packed), sum(each.over_committed for each in all_packed)
    return (
        f"{len(all_packed)} random instances of 50–500 pods, {pods} placements:"
        f" {_spread(all_packed, lambda each: each.used)} where pods come one after the other and are never moved (goal"
        f" ≤ 1.05x), {_spread(all_packed, lambda each: each.used_after)} after planned moves, each plan freeing a GPU,"
        f" {100 * sum(each.moves for each in all_packed) / pods:.1f} moves for 100 pods; {over} over-commitments. The"
        " bound is Martello and Toth's L2, for quotas into rows of one width and for rows into GPUs, or memory where"
        " that needs more."
    )


def _spread(all_packed: Iterable[Packed], used: Callable[[Packed], int]) -> str:
    ratios = [used(each) / each.bound for each in all_packed]
    met = np.mean([ratio <= 1.05 for ratio in ratios])
    return (
        f"{np.mean(ratios):.3f}x the lower bound on average, P95 {np.percentile(ratios, 95):.3f}x, most"
        f" {max(ratios):.3f}x, {met:.0%} of them within 1.05x"
    )


def _used(ledger: Ledger) -> int:
    return sum(1 for books in ledger.gpus() if books.rows)


def _freed(ledger: Ledger) -> tuple[Ledger, int]:
    """The books once no more moves free a GPU, and how many were made."""
    pods = [replace(pod, ready=True) for books in ledger.gpus() for pod in books.placements()]
    ledger, made = Ledger((books.gpu for books in ledger.gpus() if books.rows), pods), 0
    wishes = {pod.revision: ANYWHERE for pod in pods}
    while (plan := plan_to_free_a_gpu(ledger, wishes, len(pods), most_looks=None)) is not None:
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


def _placed(widths: Sizes, quotas: Sizes, memories: Sizes) -> Ledger:
    gpus = simulated_gpus(len(widths), PRODUCT)
    ledger = Ledger(gpus, ())
    for number, (width, quota, memory) in enumerate(zip(widths, quotas, memories, strict=True)):
        # GPUs are opened one at a time: the free ones all look alike.
        found = fitted(ledger, int(width), int(quota), int(memory))
        assert found is not None
        key = PodKey("n", f"p{number}", f"u{number}")
        ledger.take(Placement(pod=key, revision=RevisionKey("n", f"r{number}"), slice=found))
    return ledger


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m e2e.evaluation.packing", description=__doc__)
    parser.add_argument("--instances", type=int, default=0)
    parser.add_argument("--operations", type=int, default=0)
    parser.add_argument("--processes", type=int, default=1)
    options = parser.parse_args()
    if options.instances:
        print(packing(options.instances, options.processes))
    if options.operations:
        print(operations(options.operations))
