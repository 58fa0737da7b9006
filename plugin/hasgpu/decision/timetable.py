"""The time-table of one GPU from what pods should have and what is applied. Pure: no clock, no I/O.

This is the last guard (design §5.2): whatever the annotations say, a row never holds more than 100 percent and
the rows of a GPU never more than 100 percent of its SMs. What is applied stays, shrinks come first, growth takes
what is left, a newcomer gets the rest; where that is less than asked, an Objection says so.

A row is a circle of ``K`` windows, K the largest number of windows any of its pods needs to have a slot of at
least 5 ms. Each pod takes ``K // k`` turns a circle (twice that where half a turn is still a slot), laid end to end.
Worked example (40 ms, 30 % and 60 %): A 0-6, B 6-18, A 20-26, B 26-38.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from hasgpu.model.gpu import GpuSlice
from hasgpu.model.schedule import GpuSchedule, RowPolicy, ScheduleEntry, Slot
from hasgpu.model.units import MIN_TIME_QUOTA_PERCENT

MIN_SLOT_NS = 5_000_000
# What a schedule page can hold; an MPS daemon serves at most 60 clients.
MAX_SLOTS = 4
MAX_ROWS = 64
MAX_PODS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What the ledger says one pod should have."""

    pod_uid: str
    slice: GpuSlice


@dataclass(frozen=True, slots=True, kw_only=True)
class Objection:
    """Where the guard laid less than the ledger says, and why."""

    pod_uid: str
    gpu_uuid: str
    row: int
    asked_percent: int
    laid_percent: int
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Timetable:
    """A table to lay, and what had to be refused on the way."""

    schedule: GpuSchedule
    objections: tuple[Objection, ...]


def windows_needed(quota_percent: int, window_ns: int) -> int:
    """k of design §6: the least number of windows in which the quota makes a slot; 1 for a parked pod."""
    if quota_percent == 0:
        return 1
    return -(-MIN_SLOT_NS * 100 // (quota_percent * window_ns))


def to_timetable(
    gpu_uuid: str,
    window_ns: int,
    claims: Iterable[Claim],
    applied: GpuSchedule | None,
    policy: RowPolicy = "slots",
) -> Timetable:
    """The next table of a GPU. A pod without a claim leaves, one whose row has no room is not in it at all.

    The order of those that stay never changes.
    """
    before = {entry.pod_uid: entry for entry in applied.entries} if applied else {}
    rank = {uid: position for position, uid in enumerate(before)}
    ordered = sorted(claims, key=lambda claim: (rank.get(claim.pod_uid, len(rank)), claim.slice.row, claim.pod_uid))
    objections = [_objection(claim, 0, f"a GPU holds {MAX_PODS} pods") for claim in ordered[MAX_PODS:]]
    ordered = ordered[:MAX_PODS]
    sm_of_row = _admit_rows(ordered, before, applied, objections)
    quotas: dict[str, int] = {}
    for row in sm_of_row:
        members = [claim for claim in ordered if claim.slice.row == row]
        quotas |= _share_row(members, before, sm_of_row[row], objections)
    laid = [(claim, quotas.get(claim.pod_uid, 0)) for claim in ordered]
    entries = [entry for row in sm_of_row for entry in _lay_row(row, window_ns, laid)]
    entries.sort(key=lambda entry: (rank.get(entry.pod_uid, len(rank)), entry.row, entry.pod_uid))
    schedule = GpuSchedule(
        gpu_uuid=gpu_uuid,
        window_ns=window_ns,
        rows=tuple((row, sm, policy) for row, sm in sorted(sm_of_row.items())),
        entries=tuple(entries),
    )
    return Timetable(schedule=schedule, objections=tuple(objections))


def _admit_rows(
    ordered: list[Claim],
    before: Mapping[str, ScheduleEntry],
    applied: GpuSchedule | None,
    objections: list[Objection],
) -> dict[int, int]:
    """SM percent of each row that may run; a row that would take the GPU above 100 percent is not admitted."""
    known = {row: sm for row, sm, _ in applied.rows} if applied else {}
    staying = {claim.slice.row for claim in ordered if claim.pod_uid in before}
    admitted = {row: sm for row, sm in known.items() if row in staying}
    for claim in ordered:
        row, sm = claim.slice.row, claim.slice.sm_partition.percent
        if row in admitted:
            continue
        if row >= MAX_ROWS:
            objections.append(_objection(claim, 0, f"rows are 0..{MAX_ROWS - 1}"))
        elif sum(admitted.values()) + sm <= 100:
            admitted[row] = sm
        else:
            why = f"rows hold {sum(admitted.values())}% of the SMs, row {row} with {sm}% does not fit"
            objections.append(_objection(claim, 0, why))
    return admitted


def _share_row(
    members: list[Claim],
    before: Mapping[str, ScheduleEntry],
    sm_percent: int,
    objections: list[Objection],
) -> dict[str, int]:
    """Percent laid for each pod of a row: shrinks first, then growth in order, at most 100 in all."""
    quotas: dict[str, int] = {}
    for claim in members:
        entry = before.get(claim.pod_uid)
        held = entry.quota_percent if entry and entry.row == claim.slice.row else 0
        quotas[claim.pod_uid] = min(held, claim.slice.time_quota.percent)
    for claim in members:
        asked = claim.slice.time_quota.percent
        if claim.slice.sm_partition.percent != sm_percent:
            quotas[claim.pod_uid] = 0
            why = f"its SM partition is {claim.slice.sm_partition.percent}%, its row's is {sm_percent}%"
            objections.append(_objection(claim, 0, why))
            continue
        held = quotas[claim.pod_uid]
        granted = held + min(asked - held, 100 - sum(quotas.values()))
        quotas[claim.pod_uid] = granted if granted >= MIN_TIME_QUOTA_PERCENT else 0
        if quotas[claim.pod_uid] < asked:
            why = f"the row's other pods hold {sum(quotas.values()) - quotas[claim.pod_uid]}%"
            objections.append(_objection(claim, quotas[claim.pod_uid], why))
    return quotas


def _lay_row(row: int, window_ns: int, laid: list[tuple[Claim, int]]) -> list[ScheduleEntry]:
    """Entries of one row: turns spread over the circle in a fixed order, idle time spread between them."""
    members = [(claim, quota) for claim, quota in laid if claim.slice.row == row]
    running = [(claim.pod_uid, quota) for claim, quota in members if quota]
    windows = max((windows_needed(quota, window_ns) for _, quota in running), default=1)
    slots = to_slots(running, windows, window_ns)
    return [_entry(claim, quota, windows, slots.get(claim.pod_uid, ())) for claim, quota in members]


def to_slots(running: list[tuple[str, int]], windows: int, window_ns: int) -> dict[str, tuple[Slot, ...]]:
    """Disjoint slots of each pod in a circle of ``windows`` windows; their sum is exactly its quota."""
    circle_ns = windows * window_ns
    turns = {uid: _turns(quota, windows, window_ns) for uid, quota in running}
    rounds = max(turns.values(), default=1)
    queue: list[list[tuple[str, int]]] = [[] for _ in range(rounds)]
    load = [0] * rounds
    for uid, quota in running:
        count, busy_ns = turns[uid], quota * circle_ns // 100
        places = _emptiest(load, count)
        for turn, place in enumerate(places):
            length_ns = busy_ns * (turn + 1) // count - busy_ns * turn // count
            queue[place].append((uid, length_ns))
            load[place] += length_ns
    slots: dict[str, list[Slot]] = {uid: [] for uid, _ in running}
    idle_ns, cursor_ns = circle_ns - sum(load), 0
    for place in range(rounds):
        for uid, length_ns in queue[place]:
            _append(slots[uid], Slot(start_ns=cursor_ns, end_ns=cursor_ns + length_ns))
            cursor_ns += length_ns
        pause_ns = min(idle_ns, max(0, circle_ns // rounds - load[place]))
        idle_ns -= pause_ns
        cursor_ns += pause_ns
    return {uid: tuple(spans) for uid, spans in slots.items()}


def _turns(quota_percent: int, windows: int, window_ns: int) -> int:
    """How often the pod runs in one circle: as often as its slots stay long enough, at most ``MAX_SLOTS``."""
    turns = windows // windows_needed(quota_percent, window_ns)
    halved = quota_percent * windows * window_ns // (100 * 2 * turns) >= MIN_SLOT_NS
    return min(MAX_SLOTS, 2 * turns if halved and 2 * turns <= MAX_SLOTS else turns)


def _emptiest(load: list[int], turns: int) -> list[int]:
    """Rounds, evenly apart, whose fullest is the least full; the earliest of equals."""
    rounds = len(load)
    choices = [
        [(offset + turn * rounds // turns) % rounds for turn in range(turns)]
        for offset in range(max(1, rounds // turns))
    ]
    return min(choices, key=lambda places: max(load[place] for place in places))


def _append(spans: list[Slot], slot: Slot) -> None:
    """Adds a slot; two that touch are one."""
    if spans and spans[-1].end_ns == slot.start_ns:
        slot = Slot(start_ns=spans.pop().start_ns, end_ns=slot.end_ns)
    spans.append(slot)


def _entry(claim: Claim, quota_percent: int, windows: int, slots: tuple[Slot, ...]) -> ScheduleEntry:
    return ScheduleEntry(
        pod_uid=claim.pod_uid,
        row=claim.slice.row,
        quota_percent=quota_percent,
        generation=claim.slice.generation,
        windows=windows,
        phase=0,
        slots=slots,
        memory_bytes=claim.slice.memory_bytes,
    )


def _objection(claim: Claim, laid_percent: int, why: str) -> Objection:
    return Objection(
        pod_uid=claim.pod_uid,
        gpu_uuid=claim.slice.gpu_uuid,
        row=claim.slice.row,
        asked_percent=claim.slice.time_quota.percent,
        laid_percent=laid_percent,
        why=why,
    )
