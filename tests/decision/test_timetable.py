"""The last guard: rows never above 100 percent, shares exact, slots long enough, order kept."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import pytest
from hasgpu.decision.timetable import (
    MAX_SLOTS,
    MIN_SLOT_NS,
    Claim,
    Timetable,
    to_slots,
    to_timetable,
    windows_needed,
)
from hasgpu.model.gpu import GpuSlice
from hasgpu.model.schedule import GpuSchedule, ScheduleEntry, Slot
from hasgpu.model.units import SmPartition, TimeQuota
from hypothesis import given
from hypothesis import strategies as st

WINDOW_NS = 40_000_000
MS = 1_000_000


def claim(uid: str, quota: int, *, row: int = 0, sm: int = 50, generation: int = 1) -> Claim:
    return Claim(
        pod_uid=uid,
        slice=GpuSlice(
            gpu_uuid="GPU-0",
            row=row,
            sm_partition=SmPartition(sm),
            time_quota=TimeQuota(quota),
            memory_bytes=1 << 30,
            generation=generation,
        ),
    )


def lay(*claims: Claim, applied: GpuSchedule | None = None, window_ns: int = WINDOW_NS) -> Timetable:
    return to_timetable("GPU-0", window_ns, claims, applied)


def quotas(table: Timetable) -> dict[str, int]:
    return {entry.pod_uid: entry.quota_percent for entry in table.schedule.entries}


def milliseconds(slots: tuple[Slot, ...]) -> list[tuple[float, float]]:
    return [(slot.start_ns / MS, slot.end_ns / MS) for slot in slots]


@pytest.mark.parametrize(
    ("quota", "windows"),
    [
        pytest.param(0, 1, id="a parked pod needs no window"),
        pytest.param(5, 3, id="5 % is 2 ms a window: three windows make 6 ms"),
        pytest.param(12, 2, id="12 % is 4.8 ms a window: two windows"),
        pytest.param(13, 1, id="13 % is 5.2 ms: one window"),
        pytest.param(100, 1, id="everything is one window"),
    ],
)
def test_windows_needed(quota: int, windows: int) -> None:
    assert windows_needed(quota, WINDOW_NS) == windows


@pytest.mark.parametrize(
    ("running", "windows", "expected"),
    [
        pytest.param([("a", 100)], 1, {"a": [(0, 40)]}, id="turns that touch are one slot"),
        pytest.param([("a", 30)], 1, {"a": [(0, 6), (20, 26)]}, id="30 % runs twice a window, half a window apart"),
        pytest.param(
            [("a", 30), ("b", 60)],
            1,
            {"a": [(0, 6), (20, 26)], "b": [(6, 18), (26, 38)]},
            id="two pods alternate",
        ),
        pytest.param([("a", 20), ("b", 20)], 1, {"a": [(0, 8)], "b": [(8, 16)]}, id="single turns lie end to end"),
        pytest.param(
            [("a", 30), ("b", 20), ("c", 15)],
            1,
            {"a": [(0, 6), (20, 26)], "b": [(6, 14)], "c": [(26, 32)]},
            id="single turns spread over the halves",
        ),
        pytest.param(
            [("a", 95), ("b", 5)],
            3,
            {"a": [(0, 38), (44, 120)], "b": [(38, 44)]},
            id="a 5 % pod takes 6 ms out of every third window",
        ),
    ],
)
def test_slots(running: list[tuple[str, int]], windows: int, expected: dict[str, list[tuple[int, int]]]) -> None:
    laid = {uid: milliseconds(slots) for uid, slots in to_slots(running, windows, WINDOW_NS).items()}
    assert laid == expected


def test_growth_takes_only_what_a_shrink_in_the_same_table_has_freed() -> None:
    first = lay(claim("a", 60), claim("b", 40)).schedule
    table = lay(claim("a", 30, generation=2), claim("b", 70, generation=2), applied=first)
    assert quotas(table) == {"a": 30, "b": 70}
    assert table.objections == ()


def test_an_over_committed_ledger_keeps_what_is_applied_and_gives_a_newcomer_the_rest() -> None:
    first = lay(claim("z", 80)).schedule
    table = lay(claim("z", 80), claim("a", 50), applied=first)
    assert quotas(table) == {"z": 80, "a": 20}
    (objection,) = table.objections
    assert (objection.pod_uid, objection.asked_percent, objection.laid_percent) == ("a", 50, 20)


def test_a_rest_below_five_percent_is_no_slice() -> None:
    first = lay(claim("z", 97)).schedule
    table = lay(claim("z", 97), claim("a", 50), applied=first)
    assert quotas(table) == {"z": 97, "a": 0}


def test_a_row_that_does_not_fit_the_gpu_is_not_admitted() -> None:
    first = lay(claim("a", 50, row=0, sm=60)).schedule
    table = lay(claim("a", 50, row=0, sm=60), claim("b", 50, row=1, sm=50), applied=first)
    assert quotas(table) == {"a": 50}
    assert table.schedule.rows == ((0, 60, "slots"),)
    assert "does not fit" in table.objections[0].why


def test_a_pod_with_another_share_than_its_row_does_not_run() -> None:
    first = lay(claim("a", 50, sm=60)).schedule
    table = lay(claim("a", 50, sm=60), claim("b", 50, sm=40), applied=first)
    assert quotas(table) == {"a": 50, "b": 0}


def test_more_pods_than_a_page_holds_leave_the_last_comers_out() -> None:
    table = lay(*(claim(f"p{number:03}", 0) for number in range(70)))
    assert len(table.schedule.entries) == 64
    assert {objection.pod_uid for objection in table.objections} == {f"p{number:03}" for number in range(64, 70)}


def test_a_row_number_beyond_the_page_is_not_admitted() -> None:
    table = lay(claim("a", 50, row=64))
    assert table.schedule.entries == ()
    assert table.objections[0].why == "rows are 0..63"


def test_a_row_is_free_for_another_share_once_its_last_pod_left() -> None:
    first = lay(claim("a", 50, sm=60)).schedule
    table = lay(claim("b", 50, sm=40), applied=first)
    assert table.schedule.rows == ((0, 40, "slots"),)


def test_order_is_kept_when_quotas_change_and_newcomers_go_last() -> None:
    first = lay(claim("m", 20), claim("z", 20)).schedule
    second = lay(claim("a", 20), claim("m", 30), claim("z", 20), applied=first).schedule
    assert [entry.pod_uid for entry in second.entries] == ["m", "z", "a"]


def test_the_same_claims_give_the_same_table() -> None:
    first = lay(claim("a", 20), claim("b", 33), claim("c", 7)).schedule
    assert lay(claim("c", 7), claim("b", 33), claim("a", 20), applied=first).schedule == first


def test_a_parked_pod_has_an_entry_and_no_slot() -> None:
    (entry,) = lay(claim("a", 0)).schedule.entries
    assert entry.slots == ()
    assert entry.memory_bytes == 1 << 30


percents = st.one_of(st.just(0), st.integers(5, 100))
claims_of_a_gpu = st.lists(
    st.tuples(st.integers(0, 12), percents, st.integers(0, 3), st.sampled_from([20, 30, 50, 100])),
    max_size=10,
    unique_by=lambda item: item[0],
)


def occupied(entry: ScheduleEntry) -> int:
    return sum(slot.end_ns - slot.start_ns for slot in entry.slots)


def check(table: Timetable, window_ns: int) -> None:
    rows = {row: sm for row, sm, _ in table.schedule.rows}
    assert sum(rows.values()) <= 100
    for row in rows:
        members = [entry for entry in table.schedule.entries if entry.row == row]
        assert sum(entry.quota_percent for entry in members) <= 100
        assert len({entry.windows for entry in members}) == 1
        spans = sorted((slot.start_ns, slot.end_ns) for entry in members for slot in entry.slots)
        assert all(0 <= start < end <= members[0].windows * window_ns for start, end in spans)
        assert all(earlier[1] <= later[0] for earlier, later in pairwise(spans))
    for entry in table.schedule.entries:
        circle_ns = entry.windows * window_ns
        assert abs(Fraction(occupied(entry), circle_ns) - Fraction(entry.quota_percent, 100)) < Fraction(1, 10**6)
        assert len(entry.slots) <= MAX_SLOTS
        assert all(slot.end_ns - slot.start_ns >= MIN_SLOT_NS for slot in entry.slots)


@given(st.lists(claims_of_a_gpu, min_size=1, max_size=4), st.sampled_from([20, 40, 100, 200]))
def test_no_sequence_of_ledgers_ever_lays_more_than_there_is(
    steps: list[list[tuple[int, int, int, int]]], window_ms: int
) -> None:
    applied, window_ns = None, window_ms * MS
    for generation, step in enumerate(steps):
        claims = [claim(f"p{uid}", quota, row=row, sm=sm, generation=generation) for uid, quota, row, sm in step]
        table = lay(*claims, applied=applied, window_ns=window_ns)
        check(table, window_ns)
        laid = quotas(table)
        rows = {row for row, _, _ in table.schedule.rows}
        assert set(laid) == {item.pod_uid for item in claims if item.slice.row in rows}
        refused = {objection.pod_uid for objection in table.objections}
        for item in claims:
            assert laid.get(item.pod_uid, 0) <= item.slice.time_quota.percent
            assert laid.get(item.pod_uid) == item.slice.time_quota.percent or item.pod_uid in refused
        applied = table.schedule


@given(st.lists(st.integers(5, 100), min_size=1, max_size=20))
def test_every_ledger_that_fits_is_laid_in_full(asked: list[int]) -> None:
    fitting = [quota for position, quota in enumerate(asked) if sum(asked[: position + 1]) <= 100]
    table = lay(*(claim(f"p{position}", quota) for position, quota in enumerate(fitting)))
    check(table, WINDOW_NS)
    assert table.objections == ()
