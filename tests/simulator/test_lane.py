"""A pod's lane: work flows in its slots and nowhere else."""

from __future__ import annotations

import math

import pytest
from hasgpu.simulator.lane import OPEN, Lane, lay
from hypothesis import given
from hypothesis import strategies as st

WINDOW_S = 0.04


@pytest.mark.parametrize(
    ("start_s", "work_s", "finish_s"),
    [
        pytest.param(0.000, 0.010, 0.010, id="work within the slot takes its own time"),
        pytest.param(0.015, 0.010, 0.045, id="what does not fit goes on in the next slot"),
        pytest.param(0.030, 0.010, 0.050, id="outside the slot nothing happens"),
        pytest.param(0.000, 0.060, 0.100, id="long work takes one slot a window"),
        pytest.param(0.040, 0.020, 0.060, id="a slot used up exactly ends with it"),
    ],
)
def test_half_a_window(start_s: float, work_s: float, finish_s: float) -> None:
    lane = Lane(WINDOW_S, [(0.0, 0.02)])
    assert lane.finish(start_s, work_s) == pytest.approx(finish_s)


def test_a_lane_that_never_opens_never_finishes() -> None:
    assert Lane(1.0, ()).finish(3.0, 0.1) == math.inf


def test_an_open_lane_adds_nothing() -> None:
    assert OPEN.finish(3.0, 0.1) == pytest.approx(3.1)


quotas = st.lists(st.integers(5, 60), min_size=1, max_size=6).filter(lambda each: sum(each) <= 100)


@given(quotas, st.floats(0.0, 10.0), st.floats(1e-4, 2.0))
def test_done_undoes_finish(row: list[int], start_s: float, work_s: float) -> None:
    for lane in lay([(str(n), quota) for n, quota in enumerate(row)], WINDOW_S).values():
        assert lane.done(start_s, lane.finish(start_s, work_s)) == pytest.approx(work_s, abs=1e-8)


@given(quotas, st.floats(0.0, 10.0))
def test_a_pod_gets_its_quota_of_its_row_in_the_long_run(row: list[int], start_s: float) -> None:
    lanes = lay([(str(n), quota) for n, quota in enumerate(row)], WINDOW_S)
    for number, quota in enumerate(row):
        assert lanes[str(number)].done(start_s, start_s + 100.0) == pytest.approx(quota, abs=0.2)


@given(quotas, st.floats(0.0, 1.0), st.floats(0.001, 0.1))
def test_row_mates_never_get_more_than_the_time_there_is(row: list[int], start_s: float, span_s: float) -> None:
    lanes = lay([(str(n), quota) for n, quota in enumerate(row)], WINDOW_S).values()
    assert sum(lane.done(start_s, start_s + span_s) for lane in lanes) <= span_s + 1e-9
