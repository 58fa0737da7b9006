"""Planned moves: pods that run are made anew elsewhere, so that a whole GPU becomes free. Pure.

A move is made before it is broken: the pod's twin gets a slice of the same size, and once it serves the pod leaves. A
plan is a list of moves, each carried out before the next begins, and every state between two moves is a whole one. So
a plan may be dropped after any move; told which GPU was being emptied, the next plan is the rest of it.

A GPU is emptied into rows and SMs that others have free; where that is not enough, rows are first merged with others
of their width, and a pod that stands in the way goes elsewhere before. No plan opens an empty GPU.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from hasgpu.model.gpu import GpuSlice, Placement
from hasgpu.model.keys import PodKey, RevisionKey
from hasgpu.model.units import TimeQuota

from .bins import Bin, Bins, Lane, Spot
from .ledger import Ledger
from .placement import SliceWish, may_go_to

GPUS_TRIED = 8
"""With pods that stand in the way: so many of the emptiest."""

LOOKS = 100_000
"""GPUs that are looked at for one plan, each for one pod: so much that a leader has time for it (30 ms)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """A pod whose twin gets a slice elsewhere."""

    pod: PodKey
    revision: RevisionKey
    wanted: GpuSlice


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Moves in their order, and the GPU that they empty."""

    moves: tuple[Move, ...]
    frees: str


def plan_to_free_a_gpu(
    ledger: Ledger,
    wishes: Mapping[RevisionKey, SliceWish],
    most_moves: int,
    emptying: str | None = None,
    most_looks: int | None = LOOKS,
) -> Plan | None:
    """The moves that empty one more GPU, ``emptying`` if that can be; None where more than so many would be needed.

    Only pods of revisions with a wish are moved. ``most_looks`` None: however long it takes to find them.
    """
    planner = _Planner(ledger, wishes, most_moves, most_looks)
    while len(planner.moves) <= most_moves:
        freed = planner.empty_gpu(emptying) or planner.empty_a_gpu()
        if freed is None and not planner.merge_a_row():
            freed = planner.empty_a_gpu(makes_way=True)
            if freed is None:
                return None
        if freed is not None and len(planner.moves) <= most_moves:
            return Plan(moves=tuple(planner.moves), frees=freed)
    return None


def plan_for_room(
    ledger: Ledger,
    wishes: Mapping[RevisionKey, SliceWish],
    newcomer: SliceWish,
    most_moves: int,
    emptying: str | None = None,
) -> Plan | None:
    """The fewest moves after which some GPU has room for one more pod, ``emptying`` if that can be the one.

    None where more than so many would be needed, or none: room may be on its way, since others are leaving. A smaller
    number may exist: pods of a GPU are tried by their size.
    """
    planner = _Planner(ledger, wishes, most_moves, LOOKS)
    allowed = [each for each in planner.bins.all if may_go_to(each.books.gpu, newcomer)]
    if any(each.has_room(newcomer) for each in allowed):
        return None
    best: Plan | None = None
    for each in sorted(allowed, key=lambda each: (each.books.gpu.uuid != emptying, each.held))[:GPUS_TRIED]:
        for largest_first in (True, False):
            moves = planner.moves_for(each, newcomer, largest_first=largest_first)
            if moves and (best is None or len(moves) < len(best.moves)):
                best = Plan(moves=moves, frees=each.books.gpu.uuid)
        if best is not None and best.frees == emptying:
            return best
    return best


def twin_of(pod: PodKey) -> PodKey:
    """Who is to take a pod's place, until there is one that has a name."""
    return pod._replace(uid=f"{pod.uid} twin")


def moved(ledger: Ledger, moves: Iterable[Move]) -> Ledger:
    """The books after some moves, each acknowledged; ValueError where one does not fit."""
    after = ledger.copy()
    for move in moves:
        pod = after.placement(move.pod)
        if pod is None:
            raise ValueError(f"{move.pod} is not placed")
        twin = replace(
            pod,
            pod=twin_of(pod.pod),
            slice=move.wanted,
            applied_generation=move.wanted.generation,
            applied_quota_percent=move.wanted.time_quota.percent,
        )
        after.take(twin)
        after.leave(move.pod)
    return after


def _size(pod: Placement) -> tuple[int, int, PodKey]:
    return pod.slice.sm_partition.percent * pod.held_quota_percent, pod.slice.memory_bytes, pod.pod


class _Planner:
    """Tries moves on bins, and keeps those that lead somewhere."""

    def __init__(self, ledger: Ledger, wishes: Mapping[RevisionKey, SliceWish], most: int, looks: int | None) -> None:
        self._most, self._looks = most, math.inf if looks is None else looks
        self.bins = Bins(ledger)
        self.moves: list[Move] = []
        self._wishes = wishes
        self._allowed: dict[object, list[Bin]] = {}
        """By product and rules: those of most pods are the same."""

    def empty_gpu(self, uuid: str | None) -> str | None:
        """One GPU, with pods made to go out of the way."""
        found = [each for each in self.bins.all if each.books.gpu.uuid == uuid and each.stays]
        return uuid if any(self._tried(each, makes_way=True) for each in found) else None

    def empty_a_gpu(self, *, makes_way: bool = False) -> str | None:
        """The emptiest that can be."""
        loaded = sorted(
            (each for each in self.bins.all if each.stays), key=lambda each: (each.held, each.books.gpu.uuid)
        )
        for each in loaded[:GPUS_TRIED] if makes_way else loaded:
            if self._looks >= 0 and self._tried(each, makes_way=makes_way):
                return each.books.gpu.uuid
        return None

    def merge_a_row(self) -> bool:
        """Pods of the emptiest row that can be emptied join others of their width."""
        rows = [(each, lane) for each in self.bins.all for lane in each.lanes.values()]
        for _, lane in sorted(rows, key=lambda row: (100 - row[1].free_percent, row[0].books.gpu.uuid, row[1].number)):
            mark = self.bins.mark(), len(self.moves)
            if self._looks >= 0 and self._merge(lane):
                return True
            self._undo(mark)
        return False

    def moves_for(self, source: Bin, wish: SliceWish, *, largest_first: bool) -> tuple[Move, ...]:
        """Moves that make room for a pod on one GPU, and are taken back; none where that can't be."""
        mark = self.bins.mark(), len(self.moves)
        for pod in sorted(source.staying(), key=_size, reverse=largest_first):
            if source.has_room(wish) or len(self.moves) == self._most:
                break
            spot = self.bins.best(pod, self._spots(pod, source)) if self._movable(pod) else None
            if spot is not None:
                self._move(pod, spot)
        moves = tuple(self.moves) if source.has_room(wish) else ()
        self._undo(mark)
        return moves

    def _tried(self, source: Bin, *, makes_way: bool) -> bool:
        mark = self.bins.mark(), len(self.moves)
        if self._empty(source, makes_way=makes_way):
            return True
        self._undo(mark)
        return False

    def _undo(self, mark: tuple[int, int]) -> None:
        self.bins.undo(mark[0])
        del self.moves[mark[1] :]

    def _empty(self, source: Bin, *, makes_way: bool) -> bool:
        pods = sorted(source.staying(), key=_size, reverse=True)
        if len(self.moves) + len(pods) > self._most or not all(self._movable(pod) for pod in pods):
            return False
        for pod in pods:
            spot = self.bins.best(pod, self._spots(pod, source))
            if spot is not None:
                self._move(pod, spot)
            elif not (makes_way and self._make_way(pod, source)):
                return False
        return True

    def _merge(self, lane: Lane) -> bool:
        pods = sorted(lane.pods.values(), key=_size, reverse=True)
        if len(self.moves) + len(pods) > self._most or not all(self._movable(pod) for pod in pods):
            return False
        for pod in pods:
            spot = self.bins.best(pod, self._spots(pod, None), opens=False, but=lane)
            if spot is None:
                return False
            self._move(pod, spot)
        return True

    def _make_way(self, pod: Placement, source: Bin) -> bool:
        """A smaller pod goes elsewhere, and this one takes its place."""
        for each in self._spots(pod, source):
            for other in sorted(each.staying(), key=_size):
                if _size(other)[:2] >= _size(pod)[:2] or not self._movable(other):
                    continue
                mark = self.bins.mark(), len(self.moves)
                spot = self.bins.best(other, (spot for spot in self._spots(other, source) if spot is not each))
                if spot is not None:
                    self._move(other, spot)
                    place = self.bins.best(pod, (each,))
                    if place is not None:
                        self._move(pod, place)
                        return True
                    self._undo(mark)
        return False

    def _movable(self, pod: Placement) -> bool:
        once = all(move.pod != pod.pod for move in self.moves)
        return once and pod.ready and not pod.terminating and pod.revision in self._wishes

    def _spots(self, pod: Placement, but: Bin | None) -> list[Bin]:
        """GPUs in use that a pod may go to; none once enough were looked at."""
        self._looks -= len(self.bins.all)
        if self._looks < 0:
            return []
        home, wish = self.bins.where[pod.pod][0].books.gpu, self._wishes[pod.revision]
        rules = home.product, wish.gpu_product, wish.nodes
        if rules not in self._allowed:
            here = (each for each in self.bins.all if each.books.gpu.product == home.product)
            self._allowed[rules] = [each for each in here if may_go_to(each.books.gpu, wish)]
        return [each for each in self._allowed[rules] if each.stays and each is not but]

    def _move(self, pod: Placement, spot: Spot) -> None:
        where = replace(
            pod.slice,
            gpu_uuid=spot[0].books.gpu.uuid,
            row=spot[1],
            time_quota=TimeQuota(pod.held_quota_percent),
            generation=1,
        )
        self.bins.put(pod, spot)
        self.moves.append(Move(pod=pod.pod, revision=pod.revision, wanted=where))
