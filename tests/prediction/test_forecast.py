"""The forecast of a rate: calm where the load is calm, quick where it rises."""

from __future__ import annotations

import numpy as np
import pytest
from hasgpu.prediction.forecast import LocalLevel, first_level
from hypothesis import given, settings
from hypothesis import strategies as st


def followed(counts: list[float]) -> list[LocalLevel]:
    """The levels after each second's count."""
    levels = [first_level(counts[0], 1.0, 0.0)]
    for second, count in enumerate(counts[1:], start=1):
        levels.append(levels[-1].observed(count, 1.0, float(second)))
    return levels


@pytest.mark.parametrize("rate", [2.0, 10.0, 100.0])
def test_under_a_steady_load_the_upper_quantile_covers_the_rate_and_stays_near(rate: float) -> None:
    counts = [float(n) for n in np.random.default_rng(3).poisson(rate, 400)]
    upper = np.array([level.quantile(level.at_s, 2.0, 1.645) for level in followed(counts)[50:]])
    assert np.mean(upper >= rate) >= 0.9
    assert np.median(upper) <= rate + 3.0 * np.sqrt(rate)


def test_a_step_up_is_believed_with_the_first_report_that_shows_it() -> None:
    levels = followed([5.0] * 30 + [25.0])
    assert levels[-1].requests_per_s >= 20.0


def test_a_fall_is_followed_more_slowly_than_a_rise() -> None:
    down = followed([25.0] * 30 + [5.0])[-1]
    up = followed([5.0] * 30 + [25.0])[-1]
    assert 25.0 - down.requests_per_s < up.requests_per_s - 5.0
    assert followed([25.0] * 30 + [5.0] * 15)[-1].requests_per_s < 7.0


def test_the_further_ahead_the_more_is_held_ready() -> None:
    level = followed([10.0] * 20)[-1]
    assert level.quantile(20.0, 30.0, 1.645) > level.quantile(20.0, 2.0, 1.645)


def test_of_two_reporters_each_report_weighs_half() -> None:
    level = first_level(4.0, 1.0, 0.0)
    alone = level.observed(8.0, 1.0, 1.0)
    shared = level.observed(8.0, 1.0, 1.0, reporters=2)
    assert level.requests_per_s < shared.requests_per_s < alone.requests_per_s


def test_no_request_at_all_is_a_rate_of_zero() -> None:
    assert followed([0.0] * 5)[-1].requests_per_s == 0.0


@settings(deadline=None)
@given(st.lists(st.floats(0.0, 1e5), min_size=1, max_size=40), st.floats(0.0, 60.0))
def test_whatever_is_reported_the_forecast_is_a_finite_rate(counts: list[float], horizon_s: float) -> None:
    level = followed(counts)[-1]
    assert 0.0 <= level.requests_per_s < 1e7
    assert level.quantile(level.at_s, horizon_s, -1.0) <= level.quantile(level.at_s, horizon_s, 1.0) < 1e8
