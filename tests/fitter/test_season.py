"""The season that statsmodels finds: a step stays a step, and one day is no season."""

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
    return LoadHistory(first_slot=288000, means=tuple((chance.poisson(rate * 300.0) / 300.0).tolist()))


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
    assert 0.0 <= season.drift_per_s < 1e-3
