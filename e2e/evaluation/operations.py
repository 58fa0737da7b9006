"""Evaluation: random operations on the books of a few GPUs, and that no row, GPU or memory ever holds more than it has.

As in a cluster, a leader's ledger is made anew again and again from what pods say and what agents have laid. Between
two of its writes agents lay what was written, in any order, and pods that were deleted go. What is checked is not
what the ledger thinks but what the agents would have laid.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import count

import numpy as np
from hasgpu.decision.defragmentation import plan_to_free_a_gpu
from hasgpu.decision.ledger import Ledger
from hasgpu.model.gpu import Placement
from hasgpu.model.keys import PodKey, RevisionKey
from hasgpu.model.units import SmPartition, TimeQuota
from hasgpu.simulator.policies.fixed_slice import fitted
from hasgpu.simulator.run import simulated_gpus

from .data import PRODUCT
from .wishes import ANYWHERE

GPUS = 6
OPERATIONS_OF_A_LOOK = 16
WIDTHS = (5, 10, 20, 25, 40, 50, 60, 100)


class Books:
    """The cluster as pods and agents say it is, and a leader that looks at it."""

    def __init__(self, seed: int) -> None:
        self._chance = np.random.default_rng(seed)
        self._gpus = simulated_gpus(GPUS, PRODUCT)
        self._pods: dict[PodKey, Placement] = {}
        self._made = 0
        self.done: Counter[str] = Counter()
        self.broken = 0

    def run(self, operations: int) -> None:
        """So many; those that the ledger refuses count too."""
        verbs = (self._place, self._place, self._resize, self._resize, self._lay, self._lay, self._delete, self._gone)
        for number in count():
            if self.done.total() >= operations:
                return
            if number % OPERATIONS_OF_A_LOOK == 0:
                self._ledger = Ledger(self._gpus, self._pods.values())
            if number % (10 * OPERATIONS_OF_A_LOOK) == 0:
                self._move()
            verbs[int(self._chance.integers(len(verbs)))]()
            self.broken += self._over_committed()

    def _place(self) -> None:
        width, quota = int(self._chance.choice(WIDTHS)), int(self._chance.integers(5, 101))
        found = fitted(self._ledger, width, quota, int(self._chance.choice([1, 2, 4])) << 30)
        if found is None:
            self.done["refused"] += 1
            return
        self._made += 1
        key = PodKey("n", f"p{self._made}", f"u{self._made}")
        pod = Placement(pod=key, revision=RevisionKey("n", f"r{self._made % 20}"), slice=found, ready=True)
        self._ledger.take(pod)
        self._pods[key] = pod
        self.done["placed"] += 1

    def _resize(self) -> None:
        pod = self._some(terminating=False)
        known = None if pod is None else self._ledger.placement(pod.pod)
        if pod is None or known is None:
            return
        wanted = int(self._chance.integers(5, 101))
        grows = wanted > known.slice.time_quota.percent
        if grows and wanted > self._ledger.growth(known):
            self.done["refused"] += 1
            return
        written = self._ledger.write(known, TimeQuota(wanted))
        self._pods[pod.pod] = replace(pod, slice=written.slice)
        self.done["raised" if grows else "lowered"] += 1

    def _lay(self) -> None:
        """An agent lays what was written last; the leader's books of this look don't know yet."""
        pod = self._some(terminating=None)
        if pod is not None:
            laid = {"applied_generation": pod.slice.generation, "applied_quota_percent": pod.slice.time_quota.percent}
            self._pods[pod.pod] = replace(pod, **laid)  # type: ignore[arg-type]
            self.done["laid"] += 1

    def _delete(self) -> None:
        pod = self._some(terminating=False)
        if pod is not None:
            self._pods[pod.pod] = replace(pod, terminating=True, ready=False)
            self.done["deleted"] += 1

    def _gone(self) -> None:
        pod = self._some(terminating=True)
        if pod is not None:
            del self._pods[pod.pod]
            self.done["gone"] += 1

    def _move(self) -> None:
        """Twins are made for the pods of a plan, each once the one before is laid and its pod is gone."""
        plan = plan_to_free_a_gpu(self._ledger, {pod.revision: ANYWHERE for pod in self._pods.values()}, 20)
        for move in plan.moves if plan is not None else ():
            self._made += 1
            twin = Placement(
                pod=PodKey("n", f"p{self._made}", f"u{self._made}"),
                revision=move.revision,
                slice=move.wanted,
                ready=True,
            )
            self._ledger.take(twin)
            self._pods[twin.pod] = twin
            self.broken += self._over_committed()
            del self._pods[move.pod]
            self._ledger.leave(move.pod)
            self.done["moved"] += 1

    def _some(self, *, terminating: bool | None) -> Placement | None:
        found = [each for each in self._pods.values() if terminating in (None, each.terminating)]
        return found[int(self._chance.integers(len(found)))] if found else None

    def _over_committed(self) -> int:
        """Broken promises, whether agents lay every write at once or none of those that came since."""
        broken = 0
        for laid in (_laid, _written):
            time: Counter[tuple[str, int]] = Counter()
            for pod in self._pods.values():
                time[pod.slice.gpu_uuid, pod.slice.row] += laid(pod)
            broken += sum(percent > 100 for percent in time.values())
        rows: dict[tuple[str, int], set[SmPartition]] = {}
        memory: Counter[str] = Counter()
        for pod in self._pods.values():
            rows.setdefault((pod.slice.gpu_uuid, pod.slice.row), set()).add(pod.slice.sm_partition)
            memory[pod.slice.gpu_uuid] += pod.slice.memory_bytes
        broken += sum(len(widths) > 1 for widths in rows.values())
        sms: Counter[str] = Counter()
        for (gpu, _), widths in rows.items():
            sms[gpu] += max(width.percent for width in widths)
        broken += sum(percent > 100 for percent in sms.values())
        return broken + sum(memory[gpu.uuid] > gpu.memory_bytes for gpu in self._gpus)


def _laid(pod: Placement) -> int:
    return pod.applied_quota_percent if pod.applied_generation >= 0 else pod.slice.time_quota.percent


def _written(pod: Placement) -> int:
    return max(pod.slice.time_quota.percent, _laid(pod))


def operations(most: int, seed: int = 11) -> str:
    """What was done, and how often something was over-committed."""
    books = Books(seed)
    books.run(most)
    words = ", ".join(f"{number} {verb}" for verb, number in sorted(books.done.items()))
    return f"{books.done.total()} random operations on {GPUS} GPUs ({words}): {books.broken} over-commitments"
