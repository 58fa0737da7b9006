"""A row of several pods: its owner first, but for who runs past its slot; where it lends, then who waits longest."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from hasgpu.model.gpu import GpuSlice
from hasgpu.model.keys import PodKey, RevisionKey
from hasgpu.model.units import SmPartition, TimeQuota
from hasgpu.simulator.gates import Device, Gates, Row, RowPolicy
from hasgpu.simulator.lane import GRACE_S, lay
from hasgpu.simulator.pod import Pod
from hasgpu.simulator.policies.registry import policy_named
from hasgpu.simulator.requests import Requests
from hasgpu.simulator.result import summary
from hasgpu.simulator.run import Setup, simulate
from hasgpu.simulator.shared_row import HAND_OVER_S, SharedRow
from hasgpu.simulator.truth import Truth
from hypothesis import given, settings
from hypothesis import strategies as st

from .inputs import function, setup

WINDOW_S = 0.04


class Always:
    """A device on which every inference takes so long."""

    def __init__(self, work_s: float) -> None:
        self._work_s = work_s

    def work_s(self, batch: int, sm: int) -> float:
        return self._work_s

    def launch_s(self, batch: int, sm: int, quota: int) -> float:
        return self._work_s


def pod(number: int, quota: int, arrivals: list[float], work_s: float) -> Pod:
    count = len(arrivals)
    ones = np.ones(count)
    entry = GpuSlice(
        gpu_uuid="GPU-0",
        row=0,
        sm_partition=SmPartition(20),
        time_quota=TimeQuota(quota),
        memory_bytes=1 << 30,
        generation=1,
    )
    key = PodKey("n", f"p{number}", f"u{number}")
    requests = Requests(np.array(arrivals, dtype=float), ones, ones, ones, np.zeros(count))
    made = Pod(key, RevisionKey("n", f"r{number}"), entry, requests, 1)
    made.seconds_of = made.work_of = (0.0, work_s)
    made.serves_from(0.0)
    return made


def row(*pods: Pod, lends: bool, grace_s: float) -> SharedRow:
    made = SharedRow()
    lanes = lay([(each.key.uid, each.laid_percent) for each in pods], WINDOW_S, grace_s)
    made.lay(pods, lanes, 0.0, lends=lends, grace_s=grace_s)
    for each in pods:
        each.together, each.lane = made, lanes[each.key.uid]
    return made


def serve(*pods: Pod, until_s: float = 10.0, lends: bool = True, grace_s: float = 0.0) -> None:
    """Arrivals in their order, as a run hands them out."""
    together = row(*pods, lends=lends, grace_s=grace_s)
    for at, number, index in sorted(
        (at, n, i) for n, p in enumerate(pods) for i, at in enumerate(p.requests.arrived_s)
    ):
        pods[number].queue.append(index)
        together.advance(at)
    together.advance(until_s)


def test_a_lone_worker_has_the_row_whatever_its_quota_and_the_rest_counts_as_borrowed() -> None:
    one, other = pod(0, 20, [0.0], 0.06), pod(1, 50, [], 0.01)
    serve(one, other)
    assert one.requests.finished_s[0] == pytest.approx(0.06)
    assert one.borrowed_s == pytest.approx(0.06 - one.lane.done(0.0, 0.06))
    assert one.borrowed_s > 0.03


# Halves of a window of 40 ms: the first pod owns [0; 10) and [20; 30) ms, the second the rest.


def test_the_owner_has_its_slot_back_after_what_its_borrower_has_on_the_gpu() -> None:
    borrower, owner = pod(0, 50, [0.0], 0.08), pod(1, 50, [0.032], 0.005)
    serve(borrower, owner)
    assert owner.requests.finished_s[0] == pytest.approx(0.032 + HAND_OVER_S + 0.005)
    assert borrower.requests.finished_s[0] == pytest.approx(0.085)


def test_a_request_of_a_mate_waits_for_the_slot_of_another_to_end() -> None:
    owner, mate = pod(0, 50, [0.0], 0.015), pod(1, 50, [0.005], 0.01)
    serve(owner, mate)
    assert mate.requests.finished_s[0] == pytest.approx(0.02)
    assert owner.requests.finished_s[0] == pytest.approx(0.025)
    assert owner.borrowed_s == mate.borrowed_s == pytest.approx(0.0)


def test_a_parked_pod_borrows_nothing() -> None:
    parked, other = pod(0, 0, [0.0], 0.01), pod(1, 50, [], 0.01)
    serve(parked, other)
    assert parked.requests.finished_s[0] == math.inf


# What the first has saved at 24 ms: 9 ms of [0; 10) and 4 of [20; 30).


@pytest.mark.parametrize(
    ("lends", "second_ms", "mate_ms"),
    [
        pytest.param(False, 42, 52, id="strict: the rest waits for its own slot"),
        pytest.param(True, 42, 44, id="lent: the rest takes what is free"),
    ],
)
def test_who_saved_time_runs_on_into_a_mates_slot_which_is_charged_for_waiting(
    lends: bool, second_ms: float, mate_ms: float
) -> None:
    first, mate = pod(0, 50, [0.0, 0.024], 0.001), pod(1, 50, [0.030], 0.010)
    first.requests.noise[1] = 10.0
    serve(first, mate, lends=lends, grace_s=GRACE_S)
    # It has [24; 32) and two more ms; its mate [32; 40), and nothing saved for the two that it lacked.
    assert list(first.requests.finished_s) == pytest.approx([0.001, second_ms / 1e3])
    assert mate.requests.finished_s[0] == pytest.approx(mate_ms / 1e3)


@pytest.mark.parametrize(
    ("comes_ms", "finish_ms"),
    [
        pytest.param(24, 44, id="it runs 2 ms into the slot of an idle mate"),
        pytest.param(31, 51, id="it begins within the grace where its mate is idle"),
    ],
)
def test_an_idle_mate_is_not_waited_for(comes_ms: float, finish_ms: float) -> None:
    first = pod(0, 50, [0.0, comes_ms / 1e3], 0.001)
    first.requests.noise[1] = 12.0
    serve(first, pod(1, 50, [], 0.01), lends=False, grace_s=GRACE_S)
    assert first.requests.finished_s[1] == pytest.approx(finish_ms / 1e3)


def test_who_comes_within_the_grace_of_its_slot_does_not_push_a_mate_aside() -> None:
    first, mate = pod(0, 50, [0.0, 0.031], 0.001), pod(1, 50, [0.030], 0.010)
    serve(first, mate, lends=False, grace_s=GRACE_S)
    assert first.requests.finished_s[1] == pytest.approx(0.041)
    assert mate.requests.finished_s[0] == pytest.approx(0.040)


arrivals = st.lists(st.floats(0.0, 2.0), min_size=0, max_size=15).map(sorted)
mates_of_a_row = st.lists(st.tuples(st.integers(5, 30), arrivals, st.floats(0.001, 0.05)), min_size=1, max_size=3)


@settings(max_examples=100, deadline=None)
@given(mates_of_a_row)
def test_mates_of_a_strict_row_without_a_grace_never_meet(mates: list[tuple[int, list[float], float]]) -> None:
    pods = [pod(number, *mate) for number, mate in enumerate(mates)]
    serve(*pods, lends=False, until_s=1000.0)
    alone = [pod(number, *mate) for number, mate in enumerate(mates)]
    lanes = lay([(each.key.uid, each.laid_percent) for each in alone], WINDOW_S)
    for each, lonely in zip(pods, alone, strict=True):
        lonely.lane = lanes[lonely.key.uid]
        lonely.queue.extend(range(lonely.requests.count))
        lonely.advance(1000.0)
        assert list(each.requests.finished_s) == pytest.approx(list(lonely.requests.finished_s), abs=1e-6)


@settings(max_examples=100, deadline=None)
@given(mates_of_a_row)
def test_a_strict_row_with_a_grace_gives_nobody_more_than_its_slots(
    mates: list[tuple[int, list[float], float]],
) -> None:
    pods = [pod(number, *mate) for number, mate in enumerate(mates)]
    serve(*pods, lends=False, grace_s=GRACE_S, until_s=1000.0)
    for each in pods:
        own_s = 0.0
        for finish in each.requests.finished_s:
            own_s += each.work_of[1]
            assert own_s <= each.lane.done(0.0, finish) + 1e-6
        assert each.borrowed_s == 0.0


@settings(max_examples=50, deadline=None)
@given(mates_of_a_row, st.booleans())
def test_a_row_ends_its_work_a_day_later_too(mates: list[tuple[int, list[float], float]], lends: bool) -> None:
    pods = [
        pod(number, quota, [at + 86_400.0 for at in told], work) for number, (quota, told, work) in enumerate(mates)
    ]
    serve(*pods, lends=lends, grace_s=GRACE_S, until_s=87_400.0)
    assert all(finish < 87_400.0 for each in pods for finish in each.requests.finished_s)


def served(
    mates: list[tuple[int, list[float], float]], laid: list[tuple[float, int]], rows: RowPolicy = "slots"
) -> list[Pod]:
    """Through the gate, whose table is laid anew at some times: with all pods, or with one of them parked."""
    pods = [pod(number, *mate) for number, mate in enumerate(mates)]
    gates, device = Gates("gpu-time", WINDOW_S, 0.0, rows), Device({0: Row(pods)})
    truths = [(each, Truth(Always(mate[2])), 1) for each, mate in zip(pods, mates, strict=True)]
    events = [(at, -1, parked) for at, parked in [(0.0, -1), *laid]]
    events += [(at, n, i) for n, each in enumerate(pods) for i, at in enumerate(each.requests.arrived_s)]
    for at, number, index in sorted(events):
        if number >= 0:
            pods[number].queue.append(index)
            pods[number].advance(at)
            continue
        for other, each in enumerate(pods):
            each.advance(at)
            each.laid_percent = 0 if other == index else mates[other][0]
        gates.lay(device, device.rows[0], truths, at)
    for each in pods:
        each.advance(1000.0)
    return pods


def test_who_waits_for_its_slot_when_its_mate_is_parked_works_from_then_on() -> None:
    _, waits = served([(50, [], 0.01), (50, [0.001], 0.005)], [(0.005, 0)])
    assert waits.requests.finished_s[0] == pytest.approx(0.010)


@settings(max_examples=100, deadline=None)
@given(mates_of_a_row, st.lists(st.floats(0.0, 3.0), max_size=5))
def test_a_table_laid_anew_as_it_was_changes_nothing(
    mates: list[tuple[int, list[float], float]], laid_at: list[float]
) -> None:
    again, once = (
        [finish for each in served(mates, [(at, -1) for at in times]) for finish in each.requests.finished_s]
        for times in (laid_at, [])
    )
    assert again == pytest.approx(once, abs=1e-6)


@settings(max_examples=100, deadline=None)
@given(
    mates_of_a_row,
    st.lists(st.tuples(st.floats(0.0, 3.0), st.integers(-1, 2)), max_size=6),
    st.sampled_from(["slots", "borrow"]),
)
def test_whoever_is_parked_and_woken_a_row_works_once_at_a_time_and_no_request_is_lost_or_done_before_its_time(
    mates: list[tuple[int, list[float], float]], laid: list[tuple[float, int]], rows: RowPolicy
) -> None:
    pods = served(mates, [*laid, (3.5, -1)], rows)
    begin_s = min((at for _, mine, _ in mates for at in mine), default=0.0)
    done = sorted((f, mate[2]) for each, mate in zip(pods, mates, strict=True) for f in each.requests.finished_s)
    for (finish, _), sofar_s in zip(done, itertools.accumulate(work for _, work in done), strict=True):
        assert begin_s + sofar_s - 1e-6 <= finish < 1000.0
    for each, (_, _, work_s) in zip(pods, mates, strict=True):
        for at, finish in zip(each.requests.arrived_s, each.requests.finished_s, strict=True):
            assert finish >= at + work_s - 1e-6


@settings(max_examples=100, deadline=None)
@given(mates_of_a_row)
def test_a_row_that_lends_never_idles_while_somebody_waits_and_never_works_twice_at_once(
    mates: list[tuple[int, list[float], float]],
) -> None:
    pods = [pod(number, *mate) for number, mate in enumerate(mates)]
    serve(*pods)
    # One queue of all that comes, served at once in any order, is empty at the same instant.
    free_s = 0.0
    for at, work_s in sorted((at, work_s) for _, mine, work_s in mates for at in mine):
        free_s = max(free_s, at) + work_s
    last = max((finish for each in pods for finish in each.requests.finished_s), default=0.0)
    assert last == pytest.approx(free_s, abs=1e-6)
    for each in pods:
        assert -1e-9 <= each.borrowed_s <= each.busy_s + 1e-9


def outcome(setup_of_run: Setup, rows: str) -> dict[str, object]:
    changed = replace(setup_of_run, rows=rows)  # type: ignore[arg-type]
    return summary(simulate(changed, policy_named("has-gpu-intended", changed)), changed.workload.horizon_s)


def test_lending_answers_sooner_bills_what_it_lent_and_is_the_same_again() -> None:
    asked = setup(function("f"), function("g"), rate=30.0, seconds=30.0)
    strict, lent, again = outcome(asked, "slots"), outcome(asked, "borrow"), outcome(asked, "borrow")
    assert lent == again
    assert lent["failed"] == strict["failed"] == 0
    assert lent["latency_ms"]["p95"] < strict["latency_ms"]["p95"]  # type: ignore[index]
    assert lent["gpu_seconds"]["borrowed"] > 0.0  # type: ignore[index]
    assert "borrowed" not in strict["gpu_seconds"]  # type: ignore[operator]
