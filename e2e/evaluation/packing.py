"""Evaluation: how many GPUs placement needs against a lower bound, and how many are freed by planned moves.

Pods wait all at once, and are placed in the allocator's order; or they come one after the other, each placed before
the next is known, and are moved afterwards.

``python -m e2e.evaluation.packing --instances 1000 --operations 1000000``: the same on more instances, and that random
operations never over-commit.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from hasgpu.decision.defragmentation import LOOKS, moved, plan_to_free_a_gpu
from hasgpu.decision.ledger import Ledger
from hasgpu.decision.placement import bulk
from hasgpu.decision.policy import Policy
from hasgpu.model.gpu import Placement
from hasgpu.model.keys import PodKey, RevisionKey
from hasgpu.simulator.policies.fixed_slice import fitted
from hasgpu.simulator.run import simulated_gpus

from .data import PRODUCT
from .job import interval, table
from .operations import WIDTHS, operations
from .targets import Verdict
from .wishes import ANYWHERE

MEMORY = 16 << 30
SEED = 7
MOST = 1.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """One instance."""

    pods: int
    bound: int
    at_once: int
    """GPUs that are used where all pods wait in one look."""
    online: int
    """Where they come one after the other."""
    online_without_memory: int
    """The same if pods had none."""
    led: int
    """Once a leader then finds no more moves that free a GPU: as many for each as it makes, in the time that it has."""
    emptied: int
    """Once there are none, however many and however long it takes to find them."""
    moves: tuple[int, int]
    """By a leader, and in all."""
    over_committed: int


def packing(instances: int, processes: int = 1) -> tuple[str, list[Verdict]]:
    """Random slices, and how many GPUs they need."""
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
    pods = [(int(w), int(q), int(m)) for w, q, m in zip(widths, quotas, memories, strict=True)]
    rows = [w for w in WIDTHS for _ in range(least_bins([quota for width, quota, _ in pods if width == w]))]
    bound = max(least_bins(rows), math.ceil(int(memories.sum()) / MEMORY), 1)
    at_once = _placed(sorted(pods, key=lambda pod: -bulk(pod[1], pod[2], MEMORY)), 2 * bound)
    online = _placed(pods, 2 * bound)
    led, moves = _freed(online, Policy().most_moves, LOOKS)
    emptied, more = _freed(led, count, None)
    return Packed(
        pods=count,
        bound=bound,
        at_once=_used(at_once),
        online=_used(online),
        online_without_memory=_used(_placed([(width, quota, 1) for width, quota, _ in pods], 2 * bound)),
        led=_used(led),
        emptied=_used(emptied),
        moves=(moves, moves + more),
        over_committed=sum(len(books.over_committed()) for books in (at_once, online, led, emptied)),
    )


def _told(all_packed: Sequence[Packed]) -> tuple[str, list[Verdict]]:
    pods, over = sum(each.pods for each in all_packed), sum(each.over_committed for each in all_packed)
    moves = [100.0 * sum(each.moves[number] for each in all_packed) / pods for number in range(2)]
    ways: dict[str, tuple[Callable[[Packed], int], str]] = {
        "all wait in one look": (lambda each: each.at_once, "0"),
        "one after the other": (lambda each: each.online, "0"),
        "and then moved as a leader does": (lambda each: each.led, f"{moves[0]:.1f}"),
        "moved however long it takes to find the moves": (lambda each: each.emptied, f"{moves[1]:.1f}"),
    }
    memory = np.mean([(each.online - each.online_without_memory) / each.bound for each in all_packed])
    whys = {
        "one after the other": f"{memory:.3f} of it is memory that no open row's GPU has left; the rest are rows that"
        " best fit leaves open and whoever comes later does not fill"
    }
    lines, verdicts = [], []
    for way, (used, made) in ways.items():
        ratios = np.array([used(each) / each.bound for each in all_packed])
        middle, half = interval(ratios)
        lines.append(
            [way, f"{middle:.3f}x ± {half:.3f}", f"{np.percentile(ratios, 95):.3f}x",
             f"{ratios.max():.3f}x", f"{np.mean(ratios <= MOST):.0%}", made]
        )  # fmt: skip
        verdicts.append(
            Verdict(
                f"packing of 50–500 pods, {len(all_packed)} random instances: {way}",
                f"≤ {MOST}x the lower bound, never over-committed",
                f"{middle:.3f}x on average, {over} over-commitments",
                bool(middle <= MOST and not over),
                "" if middle <= MOST else whys.get(way, ""),
            )
        )
    head = ["pods", "GPUs over the bound", "P95", "most", f"within {MOST}x", "moves for 100 pods"]
    said = (
        f"{len(all_packed)} random instances, {pods} pods; {over} over-commitments. The bound is Martello and Toth's"
        " L2, for quotas into rows of one width and for rows into GPUs, or memory where that needs more."
    )
    return f"{said}\n\n{table(head, lines)}", verdicts[:3]


def _used(ledger: Ledger) -> int:
    return sum(1 for books in ledger.gpus() if books.rows)


def _freed(ledger: Ledger, most_moves: int, most_looks: int | None) -> tuple[Ledger, int]:
    """The books once no more plans free a GPU, and how many moves were made."""
    pods = [replace(pod, ready=True) for books in ledger.gpus() for pod in books.placements()]
    ledger, made = Ledger((books.gpu for books in ledger.gpus() if books.rows), pods), 0
    wishes = {pod.revision: ANYWHERE for pod in pods}
    while (plan := plan_to_free_a_gpu(ledger, wishes, most_moves, most_looks=most_looks)) is not None:
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


def _placed(pods: Sequence[tuple[int, int, int]], gpus: int) -> Ledger:
    """The books once pods of so much SM, quota and memory have been placed in this order."""
    ledger = Ledger(simulated_gpus(gpus, PRODUCT, MEMORY), ())
    for number, (width, quota, memory) in enumerate(pods):
        found = fitted(ledger, width, quota, memory)
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
        print(packing(options.instances, options.processes)[0])
    if options.operations:
        print(operations(options.operations))
