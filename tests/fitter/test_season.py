"""The season that statsmodels finds: a step stays a step, one day is no season, and chance is none."""

from __future__ import annotations

import numpy as np
import pytest
from hasgpu.fitter.season import fit_season
from hasgpu.prediction.season import SLOTS_A_DAY, LoadHistory


def recorded(days: int) -> LoadHistory:
    """Three requests/s from 8:00 to 12:30, one until 17:00, as they are counted."""
    chance = np.random.default_rng(3)
    time = np.arange(days * SLOTS_A_DAY) % SLOTS_A_DAY
    rate = np.where((time >= 96) & (time < 150), 3.0, np.where((time >= 150) & (time < 204), 1.0, 0.0))
    return LoadHistory.of(288000, chance.poisson(rate * 300.0) / 300.0)


def test_one_day_is_no_season() -> None:
    assert fit_season(recorded(1)) is None


@pytest.mark.timeout(120)
def test_after_two_days_the_rises_are_known_to_the_five_minutes() -> None:
    season = fit_season(recorded(2))
    assert season is not None
    assert season.requests_per_s[95] == 0.0
    assert season.requests_per_s[96] == pytest.approx(3.0, rel=0.15)
    assert season.requests_per_s[150] == pytest.approx(1.0, rel=0.25)
    assert season.requests_per_s[204] == 0.0
    assert season.fitted_slot == 288000 + 2 * SLOTS_A_DAY


@pytest.mark.timeout(120)
@pytest.mark.parametrize("days", [pytest.param(2, id="two days of it"), pytest.param(4, id="four days of it")])
def test_bursts_at_any_time_are_no_day(days: int) -> None:
    chance = np.random.default_rng(5)
    means = np.zeros(days * SLOTS_A_DAY)
    for first in chance.integers(0, len(means) - 6, 4 * days):
        means[first : first + 6] = chance.gamma(2.0, 2.0)
    season = fit_season(LoadHistory.of(288000, means))
    assert season is not None
    assert season.flat


def test_silence_is_no_day() -> None:
    season = fit_season(LoadHistory.of(288000, [0.0] * 2 * SLOTS_A_DAY))
    assert season is not None
    assert season.flat


@pytest.mark.timeout(120)
def test_a_weekend_does_not_hide_the_day_of_a_week() -> None:
    season = fit_season(week())
    assert season is not None
    assert season.requests_per_s[120] == pytest.approx(3.0, rel=0.2)


def week() -> LoadHistory:
    """Three requests/s from 8:00 to 12:30 on five days, and two days without any."""
    time = np.arange(7 * SLOTS_A_DAY) % SLOTS_A_DAY
    rate = np.where((time >= 96) & (time < 150), 3.0, 0.0)
    rate[5 * SLOTS_A_DAY :] = 0.0
    return LoadHistory.of(288000, rate)
