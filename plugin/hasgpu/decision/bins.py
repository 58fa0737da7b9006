"""GPUs as bins for slices that are not resized: where one fits best, and what was tried taken back. Pure bookkeeping.

A lighter ledger for planning: it knows only how much is free. A slice goes into the row of its width that it fills
most, else opens a row on the GPU whose SMs it fills most and, of those, that with the most free memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from hasgpu.model.gpu import Placement
from hasgpu.model.keys import PodKey
from hasgpu.model.units import MIN_TIME_QUOTA_PERCENT, SmPartition

from .ledger import GpuBooks, Ledger
from .placement import SliceWish


@dataclass(slots=True, eq=False)
class Lane:
    """A row: its number, its SMs, its free time, and the pods that are there."""

    number: int
    sm_percent: int
    free_percent: int
    pods: dict[PodKey, Placement] = field(default_factory=dict)
    stays: int = 0
    """Pods that are not leaving; without one the row is as good as gone."""

    @property
    def percent_once_left(self) -> int:
        """Its free time once those that are leaving have left."""
        return self.free_percent + sum(pod.held_quota_percent for pod in self.pods.values() if pod.terminating)


@dataclass(slots=True, eq=False)
class Bin:
    """What is free on one GPU."""

    books: GpuBooks
    free_sm_percent: int
    free_memory_bytes: int
    free_clients: int
    lanes: dict[int, Lane] = field(default_factory=dict)
    stays: int = 0
    """Pods that are not leaving; without one the GPU is as good as free."""

    def pods(self) -> Iterator[Placement]:
        """All pods on the GPU."""
        for lane in self.lanes.values():
            yield from lane.pods.values()

    def staying(self) -> Iterator[Placement]:
        """Those that are not leaving."""
        return (pod for pod in self.pods() if not pod.terminating)

    def has_room(self, wish: SliceWish) -> bool:
        """True where the least that a pod asks for fits once those that are leaving have left."""
        leaving = [pod for pod in self.pods() if pod.terminating]
        memory_bytes = self.free_memory_bytes + sum(pod.slice.memory_bytes for pod in leaving)
        if (
            memory_bytes < wish.memory_bytes
            or self.free_clients + sum(pod.processes for pod in leaving) < wish.processes
        ):
            return False
        low = max(wish.quota.low.percent, MIN_TIME_QUOTA_PERCENT)
        table, asked = wish.tables.get(self.books.gpu.product), wish.sm_partition
        least = asked or SmPartition(min(table.sm_percents) if table is not None else 1)
        width = self.books.gpu.rounded_up(least).percent
        rows = [lane for lane in self.lanes.values() if lane.stays]
        free_sm_percent = self.free_sm_percent + sum(lane.sm_percent for lane in self.lanes.values() if not lane.stays)
        joined = (lane for lane in rows if asked is None or lane.sm_percent == width)
        return free_sm_percent >= width or any(lane.percent_once_left >= low for lane in joined)

    @property
    def held(self) -> int:
        """Σ SM x quota, in hundredths of a percent of the GPU."""
        return sum(pod.slice.sm_partition.percent * pod.held_quota_percent for pod in self.pods())


Spot = tuple[Bin, int]
"""A GPU and the number of a row on it."""


class Bins:
    """All GPUs that take pods; ``mark`` and ``undo`` bracket what is only tried."""

    def __init__(self, ledger: Ledger) -> None:
        self.all = [_bin(books) for books in ledger.gpus() if _takes_pods(books)]
        self.where: dict[PodKey, Spot] = {
            pod: (each, number) for each in self.all for number, lane in each.lanes.items() for pod in lane.pods
        }
        self._done: list[tuple[Placement, Spot, Spot]] = []

    def best(self, pod: Placement, spots: Iterable[Bin], *, opens: bool = True, but: Lane | None = None) -> Spot | None:
        """Where a pod fits best among some GPUs, in another row than ``but``; None where nowhere."""
        width, quota = pod.slice.sm_partition.percent, pod.held_quota_percent
        joins: tuple[int, int, str, int] | None = None
        opened: tuple[int, int, str, int] | None = None
        found: tuple[Spot | None, Spot | None] = (None, None)
        for each in spots:
            # Also on its own GPU it is there twice for a while.
            if each.free_memory_bytes < pod.slice.memory_bytes or each.free_clients < pod.processes:
                continue
            for lane in each.lanes.values():
                if lane.sm_percent == width and lane.free_percent >= quota and lane is not but:
                    score = (lane.free_percent, each.free_sm_percent, each.books.gpu.uuid, lane.number)
                    if joins is None or score < joins:
                        joins, found = score, ((each, lane.number), found[1])
            if joins is None and opens and each.free_sm_percent >= width and quota <= each.books.row_percent:
                number = next(number for number in range(len(each.lanes) + 1) if number not in each.lanes)
                room = (each.free_sm_percent, -each.free_memory_bytes, each.books.gpu.uuid, number)
                if opened is None or room < opened:
                    opened, found = room, (found[0], (each, number))
        return found[0] or found[1]

    def put(self, pod: Placement, spot: Spot) -> None:
        """Moves a pod, one that is not leaving, to a spot that fits."""
        before = self.where[pod.pod]
        self._take(pod, before)
        self._add(pod, spot)
        self._done.append((pod, before, spot))

    def mark(self) -> int:
        """To undo what follows."""
        return len(self._done)

    def undo(self, mark: int) -> None:
        """As it was then."""
        while len(self._done) > mark:
            pod, before, after = self._done.pop()
            self._take(pod, after)
            self._add(pod, before)

    def _take(self, pod: Placement, spot: Spot) -> None:
        each, number = spot
        lane = each.lanes[number]
        del lane.pods[pod.pod]
        lane.stays -= 1
        each.stays -= 1
        lane.free_percent += pod.held_quota_percent
        each.free_memory_bytes += pod.slice.memory_bytes
        each.free_clients += pod.processes
        if not lane.pods:
            del each.lanes[number]
            each.free_sm_percent += lane.sm_percent

    def _add(self, pod: Placement, spot: Spot) -> None:
        each, number = spot
        lane = each.lanes.get(number)
        if lane is None:
            width = pod.slice.sm_partition.percent
            lane = each.lanes[number] = Lane(number, width, each.books.row_percent)
            each.free_sm_percent -= width
        lane.pods[pod.pod] = pod
        lane.stays += 1
        each.stays += 1
        lane.free_percent -= pod.held_quota_percent
        each.free_memory_bytes -= pod.slice.memory_bytes
        each.free_clients -= pod.processes
        self.where[pod.pod] = spot


def _takes_pods(books: GpuBooks) -> bool:
    return books.gpu.healthy and books.gpu.mps_ready and books.gpu.reachable


def _bin(books: GpuBooks) -> Bin:
    lanes = {
        number: Lane(
            number,
            row.sm_percent,
            row.most_percent - row.held_percent,
            dict(row.pods),
            sum(not pod.terminating for pod in row.pods.values()),
        )
        for number, row in books.rows.items()
    }
    stay, room = sum(lane.stays for lane in lanes.values()), books.room
    return Bin(books, room.sm_percent, room.memory_bytes, room.clients, lanes, stay)
