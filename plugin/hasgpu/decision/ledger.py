"""What is held of every GPU, for one pass of decisions. Pure bookkeeping; one pass owns one ledger.

Invariants (design §5.1): for each row Σ quota <= 100; for each GPU Σ SM of rows <= 100, Σ memory <= capacity and
Σ processes <= the MPS client limit. ``take`` and ``grow`` refuse what would break them. What the cluster already says
is taken as it is, even where it breaks them: then nothing has room until something shrinks or leaves.
A quota counts as ``Placement.held_quota_percent``: a shrink gives room only once the agent has acknowledged it.

Needs of placed pods are told before a pass decides; then what is open to a revision is what nobody else is due, and
whoever holds more than that makes room at once. Of a revision that was decided counts what it will have.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass, field, replace

from hasgpu.model.decision import Reason, reason
from hasgpu.model.gpu import Gpu, GpuSlice, Placement
from hasgpu.model.keys import PodKey, RevisionKey
from hasgpu.model.units import TimeQuota

from .need import Need, dues


@dataclass(slots=True)
class Row:
    """A share of the SMs of a GPU: all its pods have its width; it is gone with its last."""

    number: int
    pods: dict[PodKey, Placement] = field(default_factory=dict)
    most_percent: int = 100
    """Time that is given away at most; the rest is nobody's, so that it can be lent."""

    @property
    def sm_percent(self) -> int:
        """SMs that the row takes of its GPU."""
        return max((pod.slice.sm_partition.percent for pod in self.pods.values()), default=0)

    @property
    def held_percent(self) -> int:
        """Time that is written or still applied."""
        return sum(pod.held_quota_percent for pod in self.pods.values())

    @property
    def free_percent(self) -> int:
        """Time that may be given away now."""
        return max(0, self.most_percent - self.held_percent)

    def staying(self, revision: RevisionKey) -> list[Placement]:
        """A revision's pods in the row that are not leaving."""
        return [pod for pod in self.pods.values() if pod.revision == revision and not pod.terminating]


@dataclass(frozen=True, slots=True)
class Room:
    """What a GPU has left."""

    sm_percent: int
    """SMs for a new row."""
    memory_bytes: int
    """Device memory that no cap has claimed."""
    clients: int
    """CUDA processes that MPS still accepts."""
    rows: tuple[tuple[int, int, int], ...]
    """(number, SM percent, free percent of its time) of each row."""
    look: tuple[object, ...]
    """GPUs that look the same offer the same slices, as far as memory and clients allow."""


@dataclass(slots=True)
class GpuBooks:
    """One GPU and its rows."""

    gpu: Gpu
    rows: dict[int, Row] = field(default_factory=dict)
    row_percent: int = 100
    """Time of each row that is given away at most."""
    _room: Room | None = None

    @property
    def room(self) -> Room:
        """What is left, added up once after a change: each new pod asks every GPU."""
        if self._room is None:
            gpu, pods = self.gpu, [*self.placements()]
            rows = tuple((row.number, row.sm_percent, row.free_percent) for row in self.rows.values())
            sm_percent = max(0, 100 - sum(row_sm_percent for _, row_sm_percent, _ in rows))
            self._room = Room(
                sm_percent=sm_percent,
                memory_bytes=max(0, gpu.memory_bytes - sum(pod.slice.memory_bytes for pod in pods)),
                clients=max(0, gpu.mps_client_limit - sum(pod.processes for pod in pods)),
                rows=rows,
                look=(gpu.product, gpu.sm_count, gpu.sm_step, sm_percent, rows),
            )
        return self._room

    def forget_room(self) -> None:
        """Something is about to change."""
        self._room = None

    @property
    def new_row(self) -> int:
        """The least number that no row bears."""
        return next(number for number in range(len(self.rows) + 1) if number not in self.rows)

    def placements(self) -> Iterator[Placement]:
        """All pods on the GPU."""
        for row in self.rows.values():
            yield from row.pods.values()

    def copy(self) -> GpuBooks:
        """The same, to be changed."""
        rows = {number: replace(row, pods=dict(row.pods)) for number, row in self.rows.items()}
        return replace(self, rows=rows)


class Ledger:
    """All GPUs and who holds what; ``row_percent`` is the time of a row that may be given away, the rest is lent."""

    def __init__(self, gpus: Iterable[Gpu], placements: Iterable[Placement], row_percent: int = 100) -> None:
        self.row_percent = row_percent
        self.emptying: str | None = None
        """A GPU that planned moves empty: a pod that fits elsewhere goes elsewhere."""
        self._books = {gpu.uuid: GpuBooks(gpu, row_percent=row_percent) for gpu in gpus}
        self._own = set(self._books)
        """GPUs whose books no copy of this ledger shares."""
        self._where: dict[PodKey, tuple[str, int]] = {}
        """GPU and row."""
        self._pods_of: dict[RevisionKey, tuple[PodKey, ...]] = {}
        self._needs: dict[PodKey, Need] = {}
        self._waiting: dict[tuple[str, int], list[Need]] = {}
        self._decided: dict[PodKey, int] = {}
        self._priorities: dict[int, int] = {}
        """How many pods that stay have each."""
        for placement in placements:
            self.enter(placement)

    def copy(self) -> Ledger:
        """The same placements, to try something on. Each GPU's books are shared until either ledger changes them."""
        twin = Ledger((), (), self.row_percent)
        twin.emptying = self.emptying
        twin._books, twin._where = dict(self._books), dict(self._where)
        twin._pods_of, twin._priorities = dict(self._pods_of), dict(self._priorities)
        self._own.clear()
        return twin

    def gpus(self) -> Iterable[GpuBooks]:
        """Every GPU's books."""
        return self._books.values()

    def books(self, gpu_uuid: str) -> GpuBooks | None:
        """One GPU's books; None for a GPU that is not (or no longer) known."""
        return self._books.get(gpu_uuid)

    def placement(self, pod: PodKey) -> Placement | None:
        """Where a pod is."""
        if pod not in self._where:
            return None
        gpu_uuid, row = self._where[pod]
        return self._books[gpu_uuid].rows[row].pods[pod]

    def placements_of(self, revision: RevisionKey) -> tuple[Placement, ...]:
        """Where a revision's pods are, in the order in which they were entered."""
        found = (self.placement(pod) for pod in self._pods_of.get(revision, ()))
        return tuple(placement for placement in found if placement is not None)

    def row_of(self, placement: Placement) -> Row | None:
        """The row of a placed pod."""
        books = self._books.get(placement.slice.gpu_uuid)
        return books.rows.get(placement.slice.row) if books else None

    def common_row(self, placement: Placement) -> Row | None:
        """A placed pod's row if others may ask for its time: mates or, where priorities differ, who has no room."""
        books, row = self._books.get(placement.slice.gpu_uuid), self.row_of(placement)
        if books is None or row is None or not books.gpu.reachable:
            return None
        ranked = len(self._priorities) > 1
        return row if ranked or any(pod.revision != placement.revision for pod in row.pods.values()) else None

    def refusal(self, wanted: GpuSlice, processes: int) -> Reason | None:
        """Why a new pod can't have a slice; None where it can."""
        books = self._books.get(wanted.gpu_uuid)
        if books is None:
            return reason("gpu-unknown", gpu=wanted.gpu_uuid)
        if not (books.gpu.healthy and books.gpu.mps_ready):
            return reason("gpu-not-ready", gpu=wanted.gpu_uuid)
        if wanted.memory_bytes > books.room.memory_bytes:
            return reason("memory-full", gpu=wanted.gpu_uuid, free_bytes=books.room.memory_bytes)
        if processes > books.room.clients:
            return reason("clients-full", gpu=wanted.gpu_uuid, free=books.room.clients)
        row = books.rows.get(wanted.row)
        if row is None:
            if wanted.sm_partition.percent > books.room.sm_percent:
                return reason("sm-full", gpu=wanted.gpu_uuid, free_percent=books.room.sm_percent)
        elif wanted.sm_partition.percent != row.sm_percent:
            return reason("row-of-other-width", gpu=wanted.gpu_uuid, row=wanted.row, sm_percent=row.sm_percent)
        if wanted.time_quota.percent > (row.free_percent if row is not None else 100):
            return reason("row-full", gpu=wanted.gpu_uuid, row=wanted.row, free_percent=row.free_percent if row else 0)
        return None

    def take(self, placement: Placement) -> None:
        """Enter a new pod; ValueError where it does not fit."""
        refused = self.refusal(placement.slice, placement.processes)
        if refused is not None:
            raise ValueError(f"{placement.pod} does not fit: {refused.text}")
        self.enter(placement)

    def growth(self, placement: Placement) -> int:
        """The largest quota a placed pod may be written now, in percent: no more where its agent is silent."""
        row, books = self.row_of(placement), self._books.get(placement.slice.gpu_uuid)
        if row is None or books is None or not books.gpu.reachable:
            return placement.held_quota_percent
        return min(row.most_percent, placement.held_quota_percent + row.free_percent)

    def write(self, placement: Placement, quota: TimeQuota) -> Placement:
        """Enter a new quota of a placed pod, not yet acknowledged; ValueError where it would over-commit the row."""
        if quota.percent > self.growth(placement):
            raise ValueError(f"{placement.pod} may not grow to {quota.percent}: {self.growth(placement)} is free")
        # What was applied or written before still counts until the agent says otherwise.
        changed = replace(
            placement,
            slice=replace(placement.slice, time_quota=quota, generation=placement.slice.generation + 1),
            applied_generation=min(placement.applied_generation, placement.slice.generation),
            applied_quota_percent=max(placement.applied_quota_percent, placement.held_quota_percent),
        )
        self.enter(changed)
        return changed

    def tell(self, need: Need) -> None:
        """What a placed pod needs of its row, before anybody is decided."""
        self._needs[need.pod] = need

    def reserve(self, gpu_uuid: str, row: int, need: Need) -> None:
        """What a pod that found no room needs of a row: those of lower priority in it are to give way."""
        self._waiting.setdefault((gpu_uuid, row), []).append(need)

    def reserved(self) -> Set[tuple[str, int]]:
        """Rows, by GPU and number, of which pods without room were promised a part."""
        return self._waiting.keys()

    def decide(self, pod: PodKey, quota_percent: int) -> None:
        """What a pod will have once all of this pass is written; nobody later in the pass may count on more."""
        self._decided[pod] = quota_percent

    def need_of(self, pod: PodKey) -> Need | None:
        """What was told of a pod."""
        return self._needs.get(pod)

    def any_below(self, priority: int) -> bool:
        """True where there is a pod less important."""
        return any(each < priority for each in self._priorities)

    def needs_in(self, gpu_uuid: str, row: Row) -> tuple[int, list[Need]]:
        """(Percent of a row's time that those who told their needs share, those needs)."""
        waiting = self._waiting.get((gpu_uuid, row.number), [])
        told = [self._needs[pod] for pod in row.pods if pod in self._needs and pod not in self._decided]
        silent = (pod for pod in row.pods.values() if pod.pod not in self._needs or pod.pod in self._decided)
        taken = sum(self._decided.get(pod.pod, pod.held_quota_percent) for pod in silent)
        return row.most_percent - taken, [*told, *waiting]

    def open_percent(self, revision: RevisionKey, gpu_uuid: str, row: Row) -> int:
        """Time of a row for a revision's pods that stay: what no other holds or, where needs are told, is due."""
        mine = row.staying(revision)
        if not all(pod.pod in self._needs for pod in mine):
            return max(0, row.most_percent - row.held_percent + sum(pod.held_quota_percent for pod in mine))
        room, needs = self.needs_in(gpu_uuid, row)
        due = dues(room, needs)
        return max(0, room - sum(due[need.pod] for need in needs if need.revision != revision or not need.placed))

    def enter(self, placement: Placement) -> None:
        """A pod as the cluster says that it is, or is now, even where it does not fit."""
        pod = placement.pod
        before = self.placement(pod)
        if before is not None and not _same_place(before, placement):
            self.leave(pod)
            before = None
        books = self._to_change(placement.slice.gpu_uuid)
        if books is None:
            return
        row = books.rows.get(placement.slice.row)
        if row is None:
            row = books.rows[placement.slice.row] = Row(placement.slice.row, most_percent=self.row_percent)
        row.pods[pod] = placement
        if before is None:
            self._where[pod] = placement.slice.gpu_uuid, placement.slice.row
            self._pods_of[placement.revision] = (*self._pods_of.get(placement.revision, ()), pod)
        else:
            self._count(before, -1)
        self._count(placement, 1)

    def leave(self, pod: PodKey) -> None:
        """A pod whose last process is gone."""
        gone = self.placement(pod)
        books = self._to_change(gone.slice.gpu_uuid) if gone is not None else None
        if gone is None or books is None:
            return
        self._count(gone, -1)
        del self._where[pod]
        self._needs.pop(pod, None)
        left = tuple(each for each in self._pods_of.pop(gone.revision) if each != pod)
        if left:
            self._pods_of[gone.revision] = left
        row = books.rows[gone.slice.row]
        del row.pods[pod]
        if not row.pods:
            del books.rows[row.number]

    def over_committed(self) -> tuple[Reason, ...]:
        """Every broken invariant; empty where all hold."""
        return tuple(broken for books in self._books.values() for broken in _broken(books))

    def _to_change(self, gpu_uuid: str) -> GpuBooks | None:
        """A GPU's books, shared with no other ledger."""
        books = self._books.get(gpu_uuid)
        if books is None:
            return None
        if gpu_uuid not in self._own:
            books = self._books[gpu_uuid] = books.copy()
            self._own.add(gpu_uuid)
        books.forget_room()
        return books

    def _count(self, placement: Placement, one: int) -> None:
        if placement.terminating:
            return
        left = self._priorities.get(placement.priority, 0) + one
        if left:
            self._priorities[placement.priority] = left
        else:
            del self._priorities[placement.priority]


def _same_place(one: Placement, other: Placement) -> bool:
    same_row = (one.slice.gpu_uuid, one.slice.row) == (other.slice.gpu_uuid, other.slice.row)
    return same_row and one.revision == other.revision


def _broken(books: GpuBooks) -> Iterator[Reason]:
    uuid = books.gpu.uuid
    for row in books.rows.values():
        if row.held_percent > 100:
            yield reason("row-over-committed", gpu=uuid, row=row.number, held_percent=row.held_percent)
    sm_percent = sum(row.sm_percent for row in books.rows.values())
    if sm_percent > 100:
        yield reason("sm-over-committed", gpu=uuid, sm_percent=sm_percent)
    memory_bytes = sum(pod.slice.memory_bytes for pod in books.placements())
    if memory_bytes > books.gpu.memory_bytes:
        yield reason("memory-over-committed", gpu=uuid, memory_bytes=memory_bytes)
    processes = sum(pod.processes for pod in books.placements())
    if processes > books.gpu.mps_client_limit:
        yield reason("clients-over-committed", gpu=uuid, processes=processes)
