"""The gpu-time law: slots, phases, and the way back from a latency to work."""

from __future__ import annotations

import numpy as np
import pytest
from hasgpu.prediction.quota_law import (
    latencies_s,
    mean_latency_s,
    period_s,
    time_needed_s,
    work_done_s,
    work_from_latency_s,
)
from hypothesis import given, settings
from hypothesis import strategies as st

WINDOW_S = 0.040
quotas = st.integers(5, 100).map(lambda percent: percent / 100.0)
works = st.floats(1e-4, 0.5)


@pytest.mark.parametrize(
    ("percent", "windows"),
    [
        pytest.param(25, 0.5, id="25 percent of 40 ms are two slots of 5 ms"),
        pytest.param(24, 1, id="24 percent of 40 ms is under 10 ms and stays one slot"),
        pytest.param(13, 1, id="13 percent of 40 ms is 5.2 ms and fits one window"),
        pytest.param(12, 2, id="12 percent of 40 ms is under 5 ms, so it takes every second window"),
        pytest.param(5, 3, id="5 percent is 2 ms of a window and 6 ms of three"),
    ],
)
def test_a_slot_is_never_shorter_than_five_milliseconds(percent: int, windows: float) -> None:
    assert period_s(percent / 100.0, WINDOW_S) == pytest.approx(windows * WINDOW_S)


@pytest.mark.parametrize(
    ("work_ms", "percent", "needed_ms"),
    [
        pytest.param(10, 50, 10, id="work that fits the first slot takes its own time"),
        pytest.param(20, 50, 30, id="work that fills two slots exactly does not wait for a third"),
        pytest.param(21, 50, 41, id="one millisecond more waits for the third slot"),
        pytest.param(70, 50, 130, id="seven slots of work"),
        pytest.param(70, 100, 70, id="a whole row never waits"),
    ],
)
def test_work_is_served_in_slots(work_ms: float, percent: int, needed_ms: float) -> None:
    assert time_needed_s(work_ms / 1e3, percent / 100.0, WINDOW_S) == pytest.approx(needed_ms / 1e3)


@settings(deadline=None)
@given(works, quotas)
def test_time_needed_is_the_inverse_of_work_done(work_s: float, quota: float) -> None:
    needed = time_needed_s(work_s, quota, WINDOW_S)
    assert work_done_s(needed, quota, WINDOW_S) == pytest.approx(work_s, rel=1e-6, abs=1e-9)


@settings(deadline=None)
@given(works, quotas)
def test_latency_lies_between_the_work_and_the_work_at_that_pace_plus_a_closed_slot(
    work_s: float, quota: float
) -> None:
    closed_s = float(period_s(quota, WINDOW_S)) * (1.0 - quota)
    latencies = latencies_s(work_s, quota, WINDOW_S)
    assert np.all(latencies >= work_s - 1e-9)
    assert np.all(latencies <= work_s / quota + closed_s + 1e-9)


@settings(deadline=None)
@given(works, quotas)
def test_more_work_never_takes_less_time(work_s: float, quota: float) -> None:
    assert mean_latency_s(work_s * 1.1, quota, WINDOW_S) >= mean_latency_s(work_s, quota, WINDOW_S)


@settings(deadline=None)
@given(works, quotas)
def test_a_measured_latency_leads_back_to_its_work(work_s: float, quota: float) -> None:
    latency_s = float(mean_latency_s(work_s, quota, WINDOW_S))
    assert work_from_latency_s(latency_s, quota, WINDOW_S) == pytest.approx(work_s, rel=1e-3, abs=1e-6)
