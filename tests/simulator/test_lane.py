"""A pod's lane: work flows in its slots, and by what it saved a grace longer."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
from hasgpu.simulator.lane import GRACE_S, OPEN, Lane, lay
from hypothesis import given
from hypothesis import strategies as st

WINDOW_S = 0.04
HALF = Lane(WINDOW_S, [(0.0, 0.02)], GRACE_S)
LATER_HALF = Lane(WINDOW_S, [(0.02, 0.04)], GRACE_S)
NEAR = Lane(WINDOW_S, [(0.0, 0.01), (0.011, 0.02)], GRACE_S)
"""Two slots that are nearer to each other than the grace is long."""


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
    assert HALF.finish(start_s, work_s) == pytest.approx(finish_s)


# By plugin/shim/src/gate.c, with times in ms: a launch may go where it ends within balance + rest of the slot, and not
# past the slot's end + 2; the balance grows by slot time that goes by, and falls by what ran.
@pytest.mark.parametrize(
    ("lane", "start_ms", "work_ms", "saved_ms", "finish_ms", "left_ms"),
    [
        pytest.param(HALF, 15, 6, 5, 21, 4, id="saved time carries work past the slot's end"),
        pytest.param(HALF, 15, 10, 5, 43, 3, id="but no further than the grace, the rest waits for the next slot"),
        pytest.param(HALF, 15, 10, 1, 44, 0, id="nor further than what was saved"),
        pytest.param(HALF, 0, 44, 3, 81, 0, id="each slot's end spends of it until nothing is left"),
        pytest.param(HALF, 21, 0.5, 5, 21.5, 4.5, id="who comes within the grace begins at once"),
        pytest.param(HALF, 22.5, 5, 5, 45, 5, id="who comes after it waits for the next slot"),
        pytest.param(HALF, 5, 5, 5, 10, 5, id="work within the slot spends nothing"),
        pytest.param(LATER_HALF, 41, 0.5, 5, 41.5, 4.5, id="a grace reaches over the circle's end"),
        pytest.param(LATER_HALF, 39, 4, 5, 61, 3, id="and is not had twice there"),
        pytest.param(NEAR, 0, 19.5, 5, 19.5, 4, id="a gap shorter than the grace is bridged"),
        pytest.param(NEAR, 0, 20.25, 1.5, 20.25, 0.25, id="and what was saved pays for it"),
    ],
)
def test_time_that_was_saved_is_spent_past_a_slots_end(
    lane: Lane, start_ms: float, work_ms: float, saved_ms: float, finish_ms: float, left_ms: float
) -> None:
    finish_s, work_s, saved_s = lane.run(start_ms / 1e3, work_ms / 1e3, saved_ms / 1e3)
    assert finish_s == pytest.approx(finish_ms / 1e3)
    assert work_s == 0.0
    assert saved_s == pytest.approx(left_ms / 1e3, abs=1e-12)


@pytest.mark.parametrize(
    ("saved_ms", "since_ms", "now_ms", "then_ms"),
    [
        pytest.param(1, 5, 12, 8, id="slot time that goes by unused is saved"),
        pytest.param(1, 22, 38, 1, id="other time is not"),
        pytest.param(1, 15, 55, 20, id="a circle's slots at most"),
        pytest.param(1, 0, 1e7, 20, id="however long it rests"),
        pytest.param(30, 5, 5, 20, id="what a larger quota saved above that is lost"),
        pytest.param(1, math.inf, 50, 1, id="before the first inference nothing is saved"),
    ],
)
def test_what_a_pod_saves(saved_ms: float, since_ms: float, now_ms: float, then_ms: float) -> None:
    assert HALF.saved(saved_ms / 1e3, since_ms / 1e3, now_ms / 1e3) == pytest.approx(then_ms / 1e3)


def test_the_grace_is_the_shims() -> None:
    gate = (Path(__file__).parents[2] / "plugin/shim/src/gate.c").read_text(encoding="utf-8")
    found = re.search(r"#define GRACE_NS \((\d+) \* MS\)", gate)
    assert found
    assert int(found[1]) / 1e3 == GRACE_S


def test_a_lane_that_never_opens_never_finishes_and_keeps_what_was_saved() -> None:
    closed = Lane(1.0, (), GRACE_S)
    assert closed.run(3.0, 0.1, 0.002) == (math.inf, 0.1, 0.002)


def test_an_open_lane_adds_nothing() -> None:
    assert OPEN.finish(3.0, 0.1) == pytest.approx(3.1)


quotas = st.lists(st.integers(5, 60), min_size=1, max_size=6).filter(lambda each: sum(each) <= 100)


@given(quotas, st.floats(0.0, 10.0), st.floats(1e-4, 2.0))
def test_done_undoes_finish(row: list[int], start_s: float, work_s: float) -> None:
    for lane in lay([(str(n), quota) for n, quota in enumerate(row)], WINDOW_S, GRACE_S).values():
        assert lane.done(start_s, lane.finish(start_s, work_s)) == pytest.approx(work_s, abs=1e-8)


@given(quotas, st.floats(0.0, 10.0), st.floats(1e-4, 2.0), st.floats(0.0, 1.0))
def test_what_runs_past_slots_is_what_was_saved_and_never_later(
    row: list[int], start_s: float, work_s: float, part: float
) -> None:
    for lane in lay([(str(n), quota) for n, quota in enumerate(row)], WINDOW_S, GRACE_S).values():
        saved_s = part * lane.most_saved_s
        finish_s, _, left_s = lane.run(start_s, work_s, saved_s)
        assert finish_s <= lane.finish(start_s, work_s) + 1e-9
        assert -1e-9 <= left_s <= saved_s
        assert lane.done(start_s, finish_s) + saved_s - left_s == pytest.approx(work_s, abs=1e-8)


@given(quotas, st.floats(0.0, 10.0), st.floats(1e-4, 0.5), st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_who_is_stopped_and_goes_on_at_once_ends_as_if_it_was_not(
    row: list[int], start_s: float, work_s: float, part: float, when: float
) -> None:
    for lane in lay([(str(n), quota) for n, quota in enumerate(row)], WINDOW_S, GRACE_S).values():
        finish_s, _, saved_s = lane.run(start_s, work_s, part * lane.most_saved_s)
        stop_s = start_s + when * (finish_s - start_s)
        at_s, left_s, then_s = lane.run(start_s, work_s, part * lane.most_saved_s, stop_s)
        assert at_s <= stop_s + 1e-12
        again_s, _, last_s = lane.run(at_s, left_s, then_s)
        assert (again_s, last_s) == (pytest.approx(finish_s, abs=1e-7), pytest.approx(saved_s, abs=1e-7))


@given(quotas, st.floats(0.0, 10.0))
def test_a_pod_gets_its_quota_of_its_row_in_the_long_run(row: list[int], start_s: float) -> None:
    lanes = lay([(str(n), quota) for n, quota in enumerate(row)], WINDOW_S)
    for number, quota in enumerate(row):
        assert lanes[str(number)].done(start_s, start_s + 100.0) == pytest.approx(quota, abs=0.2)


@given(quotas, st.floats(0.0, 1.0), st.floats(0.001, 0.1))
def test_row_mates_never_get_more_than_the_time_there_is(row: list[int], start_s: float, span_s: float) -> None:
    lanes = lay([(str(n), quota) for n, quota in enumerate(row)], WINDOW_S).values()
    assert sum(lane.done(start_s, start_s + span_s) for lane in lanes) <= span_s + 1e-9


@pytest.mark.parametrize("grace_s", [pytest.param(0.0, id="strict slots"), pytest.param(GRACE_S, id="with a grace")])
def test_what_rounding_leaves_below_nothing_costs_no_time(grace_s: float) -> None:
    """It grew from relay to relay of a pod that was never idle, until no slot was left and the run never ended."""
    lane = Lane(WINDOW_S, [(0.0, 0.01), (0.02, 0.03)], grace_s)
    assert lane.run(0.005, 0.1, -0.001) == lane.run(0.005, 0.1, 0.0)
    assert lane.run(0.005, 0.1, -0.02, 0.5) == lane.run(0.005, 0.1, 0.0, 0.5)
