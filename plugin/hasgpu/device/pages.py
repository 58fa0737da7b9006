"""The two shared pages of the data plane: a GPU's schedule (we write) and a pod's page (the pod writes).

May not touch: Kubernetes, NVML, the clock (``now_ns`` is CLOCK_MONOTONIC, passed in). A pod's page is hostile input:
it is opened without following links, its kind and size are checked, it is read by pread and never mapped.
Offsets come from page_layout, which is generated from the C header.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import platform
import stat
import struct
from dataclasses import dataclass
from typing import Final, Literal
from uuid import UUID

from hasgpu.device import page_layout as at
from hasgpu.model.schedule import GpuSchedule, RowPolicy, ScheduleEntry, Slot

Policy = Literal["static", "open", "closed"]

_POLICIES: Final[dict[Policy, int]] = {"static": at.POLICY_STATIC, "open": at.POLICY_OPEN, "closed": at.POLICY_CLOSED}
_ROW_POLICIES: Final[dict[RowPolicy, int]] = {"slots": at.ROW_SLOTS, "token": at.ROW_TOKEN, "borrow": at.ROW_BORROW}
_ROW_POLICY_NAMES: Final[dict[int, RowPolicy]] = {code: name for name, code in _ROW_POLICIES.items()}
_EDGE_MARGIN_NS = 1_000_000
"""A table takes effect at a window edge at least this far away, so that waiters are awake before it."""
_SYS_FUTEX = 98 if platform.machine() == "aarch64" else 202
_FUTEX_WAKE = 1
_FLOCK = "@hhqqi4x"
"""struct flock of 64-bit Linux: type, whence, start, length, pid."""
_libc = ctypes.CDLL(None, use_errno=True)


class PageError(Exception):
    """A page is missing or is not what its layout says; the message names file, field and value."""


class SchedulePage:
    """The schedule of one GPU, mapped for writing. One writer at a time: the node's agent."""

    def __init__(self, path: str, memory: mmap.mmap) -> None:
        self.path = path
        self._memory = memory

    @classmethod
    def create(
        cls, path: str, gpu_uuid: str, *, expired: Policy = "static", missing: Policy = "closed"
    ) -> SchedulePage:
        """Open the page at ``path``; make it where there is none or an unusable one.

        A usable page is kept as it is, table and inode: running pods have it mapped.
        """
        if not _usable(path, gpu_uuid):
            _write_new_schedule(path, gpu_uuid)
        with open(path, "r+b") as file:
            page = cls(path, mmap.mmap(file.fileno(), at.SCHEDULE_FILE_BYTES))
        page._store(at.SCHEDULE_POLICY_EXPIRED, _POLICIES[expired])
        page._store(at.SCHEDULE_POLICY_MISSING, _POLICIES[missing])
        return page

    @property
    def publications(self) -> int:
        """How many tables were ever published; 0 means that there is none."""
        return self._load(at.SCHEDULE_EPOCH) // 2

    @property
    def effective_from_ns(self) -> int:
        """When the current table takes effect: a window edge."""
        return _unpack(self._memory, self._table(self.publications), at.TABLE_EFFECTIVE_FROM_NS)

    @property
    def valid_until_ns(self) -> int:
        """When pods stop trusting the table unless it is renewed."""
        return self._load(at.SCHEDULE_VALID_UNTIL_NS)

    def publish(self, schedule: GpuSchedule, *, valid_for_s: float, now_ns: int) -> int:
        """Lay the table and wake every waiter; return when it takes effect (the next window edge).

        The table is written into the buffer that nobody reads and becomes current by one store (see the header).
        x86-64 keeps the order of stores, which is what the seqlock needs.
        """
        number = self.publications + 1
        edge_ns = 0
        if number > 1:
            edge_ns = -(-(now_ns + _EDGE_MARGIN_NS) // schedule.window_ns) * schedule.window_ns
        table = _packed_table(schedule, edge_ns)
        start = self._table(number)
        self._store(at.SCHEDULE_EPOCH, 2 * number - 1)
        self._memory[start : start + at.TABLE_BYTES] = table
        self._store(at.SCHEDULE_VALID_UNTIL_NS, now_ns + int(valid_for_s * 1e9))
        self._store(at.SCHEDULE_EPOCH, 2 * number)
        self._wake()
        return max(edge_ns, now_ns)

    def renew(self, *, valid_for_s: float, now_ns: int) -> None:
        """Say that the current table is still meant."""
        self._store(at.SCHEDULE_VALID_UNTIL_NS, now_ns + int(valid_for_s * 1e9))

    def describe(self, *, sm_count: int, sm_step: int, pinned_spare_mib: int = 0) -> None:
        """Say how many SMs the whole GPU has, for the sidecars to compare with what their pod got.

        With ``pinned_spare_mib`` MPS holds each process to its slice's memory and so much for its contexts.
        """
        self._store(at.SCHEDULE_SM_COUNT, sm_count)
        self._store(at.SCHEDULE_SM_STEP, sm_step)
        self._store(at.SCHEDULE_PINNED_SPARE_MIB, pinned_spare_mib)

    def mark_fault(self, fault: int) -> None:
        """The GPU or its MPS server is in FAULT (an Xid, or 1), or well again (0): sidecars go unready by it."""
        self._store(at.SCHEDULE_FAULT, fault)

    def read(self) -> GpuSchedule | None:
        """The current table; None where none was published."""
        number = self.publications
        if number == 0:
            return None
        start = self._table(number)
        return _unpacked_table(self._memory[start : start + at.TABLE_BYTES], self._gpu_uuid())

    def close(self) -> None:
        """Unmap; the file and the pods' mappings stay."""
        self._memory.close()

    def _gpu_uuid(self) -> str:
        offset, size = at.SCHEDULE_GPU_UUID
        return self._memory[offset : offset + size].rstrip(b"\0").decode()

    @staticmethod
    def _table(number: int) -> int:
        return at.SCHEDULE_TABLES[0] + number % 2 * at.TABLE_BYTES

    def _load(self, field: tuple[int, int]) -> int:
        return _unpack(self._memory, 0, field)

    def _store(self, field: tuple[int, int], value: int) -> None:
        """One aligned store, never torn."""
        offset, size = field
        kind = ctypes.c_uint64 if size == 8 else ctypes.c_uint32
        kind.from_buffer(self._memory, offset).value = value

    def _wake(self) -> None:
        offset = at.SCHEDULE_WAKE[0]
        word = ctypes.c_uint32.from_buffer(self._memory, offset)
        word.value = (word.value + 1) & 0xFFFFFFFF
        _libc.syscall(_SYS_FUTEX, ctypes.byref(word), _FUTEX_WAKE, 0x7FFFFFFF, None, None, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class PodPageReport:
    """What a pod says about itself. Not to be trusted: every number is clamped to 63 bits, none is an index."""

    processes: int
    """Live processes that use the GPU: the kernel says so, by their locks."""
    pids: tuple[int, ...]
    """Their pids in the reader's pid namespace; 0 where it cannot see them."""
    busy_ns: int
    borrowed_ns: int
    """Of ``busy_ns``: in time of others that the arbiter lent."""
    gated_ns: int
    debt_ns: int
    overrun_ns: int
    forgiven_ns: int
    launches: int
    graph_launches: int
    refused_allocations: int
    measured_batches: int
    """Batches of launches whose time was read from events; ``estimated_batches``: where that could not be."""
    estimated_batches: int
    waiting: int
    pending_ns: int
    memory_bytes: int
    memory_peak_bytes: int
    generation: int
    """The last generation that any live process obeyed; -1 where none has."""
    heartbeat_ns: int
    sm_count: int
    mps_attached: bool
    unknown_entry_points: int
    bypass_suspected: int
    last_error: int
    """The CUDA error that broke the newest context; 0 while it is well."""


class PodPage:
    """Makes a pod's page; the pod alone writes it afterwards."""

    @staticmethod
    def create(path: str, mode: int = 0o666) -> None:
        """Lay an empty page at ``path`` unless a file is there already (a restarted container keeps its page)."""
        page = bytearray(at.PAGE_FILE_BYTES)
        _pack(page, 0, at.PAGE_MAGIC_FIELD, at.PAGE_MAGIC)
        _pack(page, 0, at.PAGE_ABI, at.ABI)
        _pack(page, 0, at.PAGE_FILE_BYTES_FIELD, at.PAGE_FILE_BYTES)
        if not os.path.lexists(path):
            _write_whole(path, bytes(page), mode)


def read_pod_page(path: str, dir_fd: int | None = None) -> PodPageReport | PageError:
    """The pod's page as numbers, or why it cannot be read; never raises for what a pod can do to it."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=dir_fd)
    except OSError as error:
        return PageError(f"{path}: {error.strerror}")
    try:
        kind = os.fstat(fd)
        if not stat.S_ISREG(kind.st_mode) or kind.st_size != at.PAGE_FILE_BYTES:
            return PageError(f"{path}: not a regular file of {at.PAGE_FILE_BYTES} bytes")
        data = os.pread(fd, at.PAGE_FILE_BYTES, 0)
        pids = [_lock_owner(fd, index) for index in range(at.PROCESSES)]
    except OSError as error:
        return PageError(f"{path}: {error.strerror}")
    finally:
        os.close(fd)
    if len(data) != at.PAGE_FILE_BYTES:
        return PageError(f"{path}: truncated to {len(data)} bytes")
    if (magic := _unpack(data, 0, at.PAGE_MAGIC_FIELD)) != at.PAGE_MAGIC:
        return PageError(f"{path}: magic is {magic:#x}")
    return _report(data, pids)


def _report(data: bytes, pids: list[int | None]) -> PodPageReport:
    slots = [at.PAGE_PROCESSES[0] + index * at.PROCESS_BYTES for index in range(at.PROCESSES)]
    live = [slot for slot, pid in zip(slots, pids, strict=True) if pid is not None]
    claimed = [slot for slot in live if _unpack(data, slot, at.PROCESS_STATE)]

    def total(field: tuple[int, int], of: list[int] = slots) -> int:
        return _clamped(sum(_clamped(_unpack(data, slot, field)) for slot in of))

    def head(field: tuple[int, int]) -> int:
        return _clamped(_unpack(data, 0, field))

    (balance_ns,) = struct.unpack_from("<q", data, at.PAGE_BALANCE[0])
    return PodPageReport(
        processes=len(live),
        pids=tuple(pid for pid in pids if pid is not None),
        busy_ns=total(at.PROCESS_BUSY_NS),
        borrowed_ns=total(at.PROCESS_BORROWED_NS),
        gated_ns=total(at.PROCESS_GATED_NS),
        debt_ns=_clamped(max(0, -balance_ns)),
        overrun_ns=head(at.PAGE_OVERRUN_NS),
        forgiven_ns=head(at.PAGE_FORGIVEN_NS),
        launches=total(at.PROCESS_LAUNCHES),
        graph_launches=total(at.PROCESS_GRAPH_LAUNCHES),
        refused_allocations=total(at.PROCESS_REFUSED_ALLOCATIONS),
        measured_batches=total(at.PROCESS_MEASURED_BATCHES),
        estimated_batches=total(at.PROCESS_ESTIMATED_BATCHES),
        waiting=total(at.PROCESS_WAITING, live),
        pending_ns=total(at.PROCESS_PENDING_NS, live),
        memory_bytes=total(at.PROCESS_MEMORY_BYTES, live),
        memory_peak_bytes=head(at.PAGE_MEMORY_PEAK_BYTES),
        generation=max((_clamped(_unpack(data, slot, at.PROCESS_GENERATION)) for slot in claimed), default=-1),
        heartbeat_ns=max((_clamped(_unpack(data, slot, at.PROCESS_HEARTBEAT_NS)) for slot in live), default=0),
        sm_count=head(at.PAGE_SM_COUNT),
        mps_attached=head(at.PAGE_MPS_ATTACHED) == 1,
        unknown_entry_points=head(at.PAGE_UNKNOWN_ENTRY_POINTS),
        bypass_suspected=head(at.PAGE_BYPASS_SUSPECTED),
        last_error=head(at.PAGE_LAST_ERROR),
    )


def _lock_owner(fd: int, index: int) -> int | None:
    """The pid that holds process slot ``index``; None where nobody does."""
    question = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, at.LOCK_OFFSET + index, 1, 0)
    kind, _, _, _, pid = struct.unpack(_FLOCK, fcntl.fcntl(fd, fcntl.F_GETLK, question))
    return None if kind == fcntl.F_UNLCK else max(0, int(pid))


def _clamped(value: int) -> int:
    return min(value, (1 << 63) - 1)


def _unpack(data: bytes | mmap.mmap, start: int, field: tuple[int, int]) -> int:
    offset, size = field
    (value,) = struct.unpack_from("<Q" if size == 8 else "<I", data, start + offset)
    return int(value)


def _pack(data: bytearray, start: int, field: tuple[int, int], value: int) -> None:
    offset, size = field
    struct.pack_into("<Q" if size == 8 else "<I", data, start + offset, value)


def _packed_table(schedule: GpuSchedule, effective_from_ns: int) -> bytes:
    if len(schedule.entries) > at.ENTRIES or len(schedule.rows) > at.ROWS:
        raise PageError(f"a schedule holds {at.ENTRIES} pods in {at.ROWS} rows, was: {len(schedule.entries)} pods")
    table = bytearray(at.TABLE_BYTES)
    _pack(table, 0, at.TABLE_WINDOW_NS, schedule.window_ns)
    _pack(table, 0, at.TABLE_EFFECTIVE_FROM_NS, effective_from_ns)
    _pack(table, 0, at.TABLE_ROW_COUNT, len(schedule.rows))
    _pack(table, 0, at.TABLE_ENTRY_COUNT, len(schedule.entries))
    policies: dict[int, int] = {}
    for index, (row, sm_percent, policy) in enumerate(schedule.rows):
        start = at.TABLE_ROWS[0] + index * at.ROW_BYTES
        policies[row] = _ROW_POLICIES[policy]
        _pack(table, start, at.ROW_ROW, row)
        _pack(table, start, at.ROW_SM_PERCENT, sm_percent)
        _pack(table, start, at.ROW_POLICY, policies[row])
    for index, entry in enumerate(schedule.entries):
        if entry.row not in policies or not 0 <= entry.row < at.ROWS:
            raise PageError(f"pod {entry.pod_uid}: row {entry.row} is not in the table")
        start = at.TABLE_ENTRIES[0] + index * at.ENTRY_BYTES
        _pack_entry(table, start, entry, policies[entry.row])
    return bytes(table)


def _pack_entry(table: bytearray, start: int, entry: ScheduleEntry, policy: int) -> None:
    if len(entry.slots) > at.SLOTS:
        raise PageError(f"pod {entry.pod_uid}: {len(entry.slots)} slots, at most {at.SLOTS} fit")
    offset, size = at.ENTRY_POD_UID
    table[start + offset : start + offset + size] = UUID(entry.pod_uid).bytes
    _pack(table, start, at.ENTRY_ROW, entry.row)
    _pack(table, start, at.ENTRY_QUOTA_PERCENT, entry.quota_percent)
    _pack(table, start, at.ENTRY_GENERATION, entry.generation)
    _pack(table, start, at.ENTRY_MEMORY_BYTES, entry.memory_bytes)
    _pack(table, start, at.ENTRY_WINDOWS, entry.windows)
    _pack(table, start, at.ENTRY_PHASE, entry.phase)
    _pack(table, start, at.ENTRY_SLOT_COUNT, len(entry.slots))
    _pack(table, start, at.ENTRY_POLICY, policy)
    for index, slot in enumerate(entry.slots):
        struct.pack_into("<QQ", table, start + at.ENTRY_SLOTS[0] + 16 * index, slot.start_ns, slot.end_ns)


def _unpacked_table(table: bytes, gpu_uuid: str) -> GpuSchedule:
    rows = []
    for index in range(_unpack(table, 0, at.TABLE_ROW_COUNT)):
        start = at.TABLE_ROWS[0] + index * at.ROW_BYTES
        policy = _ROW_POLICY_NAMES[_unpack(table, start, at.ROW_POLICY)]
        rows.append((_unpack(table, start, at.ROW_ROW), _unpack(table, start, at.ROW_SM_PERCENT), policy))
    starts = [at.TABLE_ENTRIES[0] + i * at.ENTRY_BYTES for i in range(_unpack(table, 0, at.TABLE_ENTRY_COUNT))]
    return GpuSchedule(
        gpu_uuid=gpu_uuid,
        window_ns=_unpack(table, 0, at.TABLE_WINDOW_NS),
        rows=tuple(rows),
        entries=tuple(_unpacked_entry(table, start) for start in starts),
    )


def _unpacked_entry(table: bytes, start: int) -> ScheduleEntry:
    offset, size = at.ENTRY_POD_UID
    spans = struct.unpack_from(f"<{2 * at.SLOTS}Q", table, start + at.ENTRY_SLOTS[0])
    count = _unpack(table, start, at.ENTRY_SLOT_COUNT)
    return ScheduleEntry(
        pod_uid=str(UUID(bytes=table[start + offset : start + offset + size])),
        row=_unpack(table, start, at.ENTRY_ROW),
        quota_percent=_unpack(table, start, at.ENTRY_QUOTA_PERCENT),
        generation=_unpack(table, start, at.ENTRY_GENERATION),
        windows=_unpack(table, start, at.ENTRY_WINDOWS),
        phase=_unpack(table, start, at.ENTRY_PHASE),
        slots=tuple(Slot(start_ns=spans[2 * i], end_ns=spans[2 * i + 1]) for i in range(count)),
        memory_bytes=_unpack(table, start, at.ENTRY_MEMORY_BYTES),
    )


def _usable(path: str, gpu_uuid: str) -> bool:
    try:
        with open(path, "rb") as file:
            data = file.read(at.SCHEDULE_FILE_BYTES + 1)
    except FileNotFoundError:
        return False
    if len(data) != at.SCHEDULE_FILE_BYTES:
        return False
    offset, size = at.SCHEDULE_GPU_UUID
    return (
        _unpack(data, 0, at.SCHEDULE_MAGIC_FIELD) == at.SCHEDULE_MAGIC
        and _unpack(data, 0, at.SCHEDULE_ABI) == at.ABI
        and data[offset : offset + size].rstrip(b"\0") == gpu_uuid.encode()
    )


def _write_new_schedule(path: str, gpu_uuid: str) -> None:
    page = bytearray(at.SCHEDULE_FILE_BYTES)
    _pack(page, 0, at.SCHEDULE_MAGIC_FIELD, at.SCHEDULE_MAGIC)
    _pack(page, 0, at.SCHEDULE_ABI, at.ABI)
    _pack(page, 0, at.SCHEDULE_FILE_BYTES_FIELD, at.SCHEDULE_FILE_BYTES)
    offset, size = at.SCHEDULE_GPU_UUID
    name = gpu_uuid.encode()
    if len(name) >= size:
        raise PageError(f"{path}: GPU UUID {gpu_uuid!r} is longer than {size - 1} bytes")
    page[offset : offset + len(name)] = name
    _write_whole(path, bytes(page), 0o644)


def _write_whole(path: str, data: bytes, mode: int) -> None:
    """Write beside and rename, so that no reader ever sees half a page."""
    beside = f"{path}.{os.getpid()}.new"
    fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        if os.write(fd, data) != len(data):
            raise PageError(f"{path}: {os.strerror(errno.ENOSPC)}")
        os.fchmod(fd, mode)
    finally:
        os.close(fd)
    os.rename(beside, path)
