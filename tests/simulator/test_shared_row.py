"""A row that lends: its owner first, then who has waited longest, and never two at once."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hasgpu.model.gpu import GpuSlice
from hasgpu.model.keys import PodKey, RevisionKey
from hasgpu.model.units import SmPartition, TimeQuota
from hasgpu.simulator.lane import lay
from hasgpu.simulator.pod import Pod
from hasgpu.simulator.policies.registry import policy_named
from hasgpu.simulator.requests import Requests
from hasgpu.simulator.result import summary
from hasgpu.simulator.run import Setup, simulate
from hasgpu.simulator.shared_row import HAND_OVER_S, SharedRow
from hypothesis import given, settings
from hypothesis import strategies as st

from .inputs import function, setup

WINDOW_S = 0.04


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


def row(*pods: Pod) -> SharedRow:
    made = SharedRow()
    lanes = lay([(each.key.uid, each.laid_percent) for each in pods], WINDOW_S)
    made.lay(pods, lanes, 0.0)
    for each in pods:
        each.together, each.lane = made, lanes[each.key.uid]
    return made


def serve(*pods: Pod, until_s: float = 10.0) -> None:
    """Arrivals in their order, as a run hands them out."""
    together = row(*pods)
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


arrivals = st.lists(st.floats(0.0, 2.0), min_size=0, max_size=15).map(sorted)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(5, 30), arrivals, st.floats(0.001, 0.05)), min_size=1, max_size=3))
def test_a_row_never_idles_while_somebody_waits_and_never_works_twice_at_once(
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
