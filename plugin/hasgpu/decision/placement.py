"""Where a new pod goes and how large its slice is: best fit over SM, quota, memory and clients. Pure.

Of all slices that fit, those that carry the wanted rate win over those that don't. Among them a slice whose quota
alone could later carry ``headroom`` times the rate wins (vertical before horizontal), as long as it costs at most
PREMIUM times the cheapest; then the least GPU cost, SM x quota; then what is left behind: the fullest of rows that
there are, a fuller GPU.
Where several pods may be made, the rate may be split: two narrow pods often cost less than one wide pod, and each
of several carries more than a lone one. If nothing carries the rate, the cheapest per request wins.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

from hasgpu.model.capacity import CapacityTable
from hasgpu.model.decision import Reason, reason
from hasgpu.model.gpu import Gpu, GpuSlice
from hasgpu.model.units import MIN_TIME_QUOTA_PERCENT, QuotaBounds, SmPartition, TimeQuota

from .ledger import GpuBooks, Ledger

PREMIUM = 1.5
SPLIT_MOST = 4
SPLIT_PREMIUM = 1.1
"""Each pod more must save so much: it takes memory, an MPS client and a place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceWish:
    """What a pod of a revision asks for."""

    sm_partition: SmPartition | None
    quota: QuotaBounds
    memory_bytes: int
    processes: int
    gpu_product: str | None
    nodes: frozenset[str] | None
    """Nodes that the pod's own rules allow; None: any."""
    tables: Mapping[str, CapacityTable]
    """By GPU product; empty where nothing is known of the model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """A slice for a new pod; ``covers`` tells whether it carries the rate it was asked for."""

    slice: GpuSlice
    requests_per_s: float
    covers: bool
    pods: int = 1
    """It is the first of so many that share the task."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NoRoom:
    """Nothing fits, and what stood in the way, each fact once."""

    reasons: tuple[Reason, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Candidate:
    """One slice that fits, and what it is worth."""

    chosen: Chosen
    cost: float
    roomy: bool
    opens_row: bool
    row_percent: int
    """Time of its row that nobody has yet."""
    free_sm_percent: int

    def score(self, cheapest: float) -> tuple[bool, bool, float, bool, int, int]:
        """Less is better."""
        worth_its_room = self.roomy and self.cost <= PREMIUM * cheapest
        return (
            not self.chosen.covers,
            not worth_its_room,
            self.cost,
            self.opens_row,
            self.row_percent,
            self.free_sm_percent,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceTask:
    """What new pods should do: carry ``requests_per_s`` together, being ``least_pods`` to ``most_pods``."""

    requests_per_s: float
    headroom: float
    unprofiled_sm_percent: int
    siblings: int = 0
    """Pods of the revision that there are already."""
    least_pods: int = 1
    most_pods: int = 1
    total_requests_per_s: float = 0.0
    """What the balancer will share equally among siblings and new pods."""

    def rate_of(self, pods: int) -> float:
        """What each of so many new pods must carry: a part of the deficit, and the part that it will be given."""
        return max(self.requests_per_s / pods, self.total_requests_per_s / (self.siblings + pods))


def bulk(quota_percent: int, memory_bytes: int, gpu_memory_bytes: int) -> float:
    """The parts that a pod takes of a row's time and of a GPU's memory, added up.

    Pods that wait together are placed by it, the bulkiest first, since small ones fit in what others leave. Its SMs
    don't count: narrow pods, placed last, would all be on the same GPUs and find no memory there.
    """
    return quota_percent / 100.0 + memory_bytes / gpu_memory_bytes


def choose_slice(
    ledger: Ledger, wish: SliceWish, requests_per_s: float, *, headroom: float, unprofiled_sm_percent: int
) -> Chosen | NoRoom:
    """The best slice for one more pod that should carry ``requests_per_s``."""
    task = SliceTask(requests_per_s=requests_per_s, headroom=headroom, unprofiled_sm_percent=unprofiled_sm_percent)
    return choose_first_slice(ledger, wish, task)


def choose_first_slice(ledger: Ledger, wish: SliceWish, task: SliceTask) -> Chosen | NoRoom:
    """The best slice for the first of the pods that a task needs."""
    candidates = [each for place in _places(ledger, wish, task) if (each := _candidate(place, wish, task)) is not None]
    if not candidates:
        return NoRoom(reasons=_obstacles(ledger, wish) or (reason("no-gpu"),))
    candidates = [each for each in candidates if _stays(each.chosen, ledger)] or candidates
    cheapest = min((each.cost for each in candidates if each.chosen.covers), default=0.0)
    return min(candidates, key=lambda each: each.score(cheapest)).chosen


_Model = tuple[str, int, int, bool]
"""All that tells what one GPU can do from what another can; the last: it is about to be emptied."""


class _Place(NamedTuple):
    """A row that a pod could be in: one that there is, or a new one."""

    books: GpuBooks
    row: int
    sm_percent: int
    free_percent: int
    opens: bool


def _places(ledger: Ledger, wish: SliceWish, task: SliceTask) -> Iterator[_Place]:
    """Of rows that are alike the one on the GPU with the fewest free SMs: in a large cluster most are alike.

    A pod joins a row only of its own width.
    """
    joins: dict[tuple[_Model, int, int], _Place] = {}
    free: dict[tuple[_Model, int], GpuBooks] = {}
    for books in ledger.gpus():
        if not fits_but_for_quota(books, wish):
            continue
        gpu, room = books.gpu, books.room
        model = gpu.product, gpu.sm_count, gpu.sm_step, gpu.uuid == ledger.emptying
        free.setdefault((model, room.sm_percent), books)
        width = gpu.rounded_up(wish.sm_partition).percent if wish.sm_partition is not None else None
        for number, sm_percent, free_percent in room.rows:
            if width is None or sm_percent == width:
                kind = model, sm_percent, free_percent
                best = joins.get(kind)
                if best is None or room.sm_percent < best.books.room.sm_percent:
                    joins[kind] = _Place(books, number, sm_percent, free_percent, opens=False)
    yield from joins.values()
    opened: set[tuple[_Model, int]] = set()
    for (model, free_sm_percent), books in sorted(free.items(), key=lambda each: each[0][1]):
        for sm_percent in _widths(books, wish, task.unprofiled_sm_percent):
            if sm_percent <= free_sm_percent and (model, sm_percent) not in opened:
                opened.add((model, sm_percent))
                # A quota that a user fixed above what rows give away gets a row of its own.
                most = max(books.row_percent, wish.quota.low.percent)
                yield _Place(books, books.new_row, sm_percent, most, opens=True)


def _obstacles(ledger: Ledger, wish: SliceWish) -> tuple[Reason, ...]:
    """What stands in the way on each GPU; GPUs that are as full say so once."""
    found, full = dict[Reason, None](), dict[object, GpuBooks]()
    for books in ledger.gpus():
        obstacle = _unusable(books, wish)
        if obstacle is not None:
            found[obstacle] = None
        else:
            full.setdefault(books.room.look, books)
    return (*found, *map(_full, full.values()))


def _stays(chosen: Chosen, ledger: Ledger) -> bool:
    """True for a slice that does what it is to, on a GPU that is not about to be emptied."""
    return chosen.covers and chosen.slice.gpu_uuid != ledger.emptying


def may_go_to(gpu: Gpu, wish: SliceWish) -> bool:
    """True where neither product nor node forbids it."""
    return wish.gpu_product in (None, gpu.product) and (wish.nodes is None or gpu.node in wish.nodes)


def fits_but_for_quota(books: GpuBooks, wish: SliceWish) -> bool:
    """True where a GPU has all that a pod asks for, time and SMs apart."""
    gpu, room = books.gpu, books.room
    return (
        wish.memory_bytes <= room.memory_bytes
        and wish.processes <= room.clients
        and gpu.healthy
        and gpu.mps_ready
        and may_go_to(gpu, wish)
    )


def _unusable(books: GpuBooks, wish: SliceWish) -> Reason | None:
    """Why a GPU does not; None where it does."""
    gpu = books.gpu
    if wish.gpu_product is not None and gpu.product != wish.gpu_product:
        return reason("other-product", gpu=gpu.uuid, product=gpu.product)
    if wish.nodes is not None and gpu.node not in wish.nodes:
        return reason("node-not-allowed", node=gpu.node)
    if not (gpu.healthy and gpu.mps_ready):
        return reason("gpu-not-ready", gpu=gpu.uuid, healthy=str(gpu.healthy), mps_ready=str(gpu.mps_ready))
    if wish.memory_bytes > books.room.memory_bytes:
        return reason("memory-full", gpu=gpu.uuid, free_bytes=books.room.memory_bytes, wanted_bytes=wish.memory_bytes)
    if wish.processes > books.room.clients:
        return reason("clients-full", gpu=gpu.uuid, free=books.room.clients)
    return None


def _full(books: GpuBooks) -> Reason:
    rows = " ".join(f"{sm_percent}%x{free_percent}%" for _, sm_percent, free_percent in books.room.rows)
    return reason("gpu-full", gpu=books.gpu.uuid, free_sm_percent=books.room.sm_percent, row_room=rows or "none")


def _candidate(place: _Place, wish: SliceWish, task: SliceTask) -> _Candidate | None:
    """The best slice of a row; None where the least that the pod asks for does not fit."""
    books, sm = place.books, place.sm_percent
    low, high = max(wish.quota.low.percent, MIN_TIME_QUOTA_PERCENT), min(wish.quota.high.percent, place.free_percent)
    if high < low:
        return None
    table, spare = wish.tables.get(books.gpu.product), books.room.sm_percent
    if table is None:
        # Nothing is known: all the time there is, and SMs near the share for such pods.
        far = 0.01 if sm > task.unprofiled_sm_percent else 1.0
        return _Candidate(
            chosen=Chosen(slice=_slice(place, wish, high), requests_per_s=0.0, covers=True),
            cost=100.0 - high + abs(sm - task.unprofiled_sm_percent) * far,
            roomy=True,
            opens_row=place.opens,
            row_percent=place.free_percent,
            free_sm_percent=spare,
        )
    part = _cheapest_part(table, sm, low, high, task)
    rate = table.rate(sm, part.quota, shared=part.shared)
    return _Candidate(
        chosen=Chosen(slice=_slice(place, wish, part.quota), requests_per_s=rate, covers=part.covers, pods=part.pods),
        cost=part.cost if part.covers else sm * part.quota / max(rate, 1e-9),
        roomy=table.rate(sm, high, shared=part.shared) * part.pods >= task.headroom * task.requests_per_s,
        opens_row=place.opens,
        row_percent=place.free_percent,
        free_sm_percent=spare,
    )


@dataclass(frozen=True, slots=True)
class _Part:
    """One of equal pods that share the task."""

    pods: int
    quota: int
    covers: bool
    shared: bool
    cost: float


def _cheapest_part(table: CapacityTable, sm: int, low: int, high: int, task: SliceTask) -> _Part:
    """The number of pods at which rows of a kind are cheapest; all that a row has where no number carries the task."""
    best: _Part | None = None
    for pods in range(task.least_pods, max(task.least_pods, min(task.most_pods, SPLIT_MOST)) + 1):
        shared = task.siblings + pods > 1
        quota = table.least_quota(sm, task.rate_of(pods), low, high, shared=shared)
        if quota is not None:
            cost = sm * quota * pods * SPLIT_PREMIUM ** (pods - 1)
            if best is None or cost < best.cost:
                best = _Part(pods, quota, True, shared, cost)
    return best or _Part(1, high, False, task.siblings + task.most_pods > 1, 0.0)


def _slice(place: _Place, wish: SliceWish, quota_percent: int) -> GpuSlice:
    return GpuSlice(
        gpu_uuid=place.books.gpu.uuid,
        row=place.row,
        sm_partition=SmPartition(place.sm_percent),
        time_quota=TimeQuota(quota_percent),
        memory_bytes=wish.memory_bytes,
        generation=1,
    )


def _widths(books: GpuBooks, wish: SliceWish, unprofiled_sm_percent: int) -> tuple[int, ...]:
    """SM shares worth trying for a new row, each one that the GPU can really give."""
    if wish.sm_partition is not None:
        return (books.gpu.rounded_up(wish.sm_partition).percent,)
    table = wish.tables.get(books.gpu.product)
    if table is not None:
        return tuple(sorted({books.gpu.rounded_up(SmPartition(sm)).percent for sm in table.sm_percents}))
    most = min(books.room.sm_percent, books.gpu.rounded_up(SmPartition(unprofiled_sm_percent)).percent)
    shares = (books.gpu.rounded_up(SmPartition(sm)).percent for sm in range(most, 0, -1))
    return tuple(islice((share for share in shares if share <= most), 1))
