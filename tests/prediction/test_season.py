"""The record of a load and the day in it: a byte for five minutes, believed as far as the last hour was like it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hasgpu.prediction.season import SLOTS_A_DAY, LoadHistory, Season, to_history, to_season

EIGHT = 96
"""The slot that begins at 8:00."""


def season(rate: float = 4.0) -> Season:
    """From 8:00 to 9:00, nothing else."""
    means = (rate if EIGHT <= slot < EIGHT + 12 else 0.0 for slot in range(SLOTS_A_DAY))
    return Season.of(means, SLOTS_A_DAY)


def test_a_week_takes_less_than_three_kilobytes_and_comes_back_within_three_percent() -> None:
    rates = np.random.default_rng(1).gamma(1.0, 20.0, 7 * SLOTS_A_DAY)
    history = LoadHistory.of(5, rates)
    plain = history.to_plain()
    assert len(plain["means"]) <= 2700
    assert to_history(plain).first_slot == 5
    assert to_history(plain).means == pytest.approx(rates, rel=0.03)


def test_nothing_and_not_known_are_told_apart() -> None:
    history = to_history(LoadHistory.of(0, (0.0, math.nan, 1 / 300)).to_plain())
    assert history.means[0] == 0.0
    assert math.isnan(history.means[1])
    assert history.means[2] == pytest.approx(1 / 300, rel=0.1)


@pytest.mark.parametrize(
    ("slots", "first", "means"),
    [
        pytest.param((7, 8), 7, (7.0, 8.0), id="slots that follow each other"),
        pytest.param((7, 9), 7, (7.0, math.nan, 9.0), id="a gap is not known"),
        pytest.param((7, 7, 6), 7, (7.0,), id="the past is not written anew"),
        pytest.param((7, 8 + 7 * 288), 8 + 7 * 288, (2024.0,), id="after a week away it begins anew"),
    ],
)
def test_slots_are_recorded(slots: tuple[int, ...], first: int, means: tuple[float, ...]) -> None:
    history = LoadHistory()
    for slot in slots:
        history = history.recorded(slot, float(slot))
    assert history.first_slot == first
    assert history.means == pytest.approx(means, rel=0.03, nan_ok=True)


def test_no_more_than_a_week_is_kept() -> None:
    history = LoadHistory()
    for slot in range(8 * SLOTS_A_DAY):
        history = history.recorded(slot, 1.0)
    assert len(history.means) == 7 * SLOTS_A_DAY
    assert history.first_slot == SLOTS_A_DAY


def test_a_season_tells_of_what_begins_within_the_start_up() -> None:
    before = 86400.0 + EIGHT * 300.0 - 20.0
    assert season().expected_per_s(before, 10.0) == 0.0
    assert season().expected_per_s(before, 30.0) == pytest.approx(4.0, rel=0.03)


@pytest.mark.parametrize(
    ("came", "believed"),
    [
        pytest.param([4.0] * 6, 4.0, id="a day like the others"),
        pytest.param([0.0] * 6, 0.0, id="a day without load"),
        pytest.param([2.0] * 6, 2.0, id="a day of half the load"),
        pytest.param([8.0] * 6, 4.0, id="a day of more than usual is for the forecast to tell"),
        pytest.param([math.nan] * 6, 4.0, id="nothing is known of the last hour"),
    ],
)
def test_the_last_hour_tells_how_far_the_season_holds(came: list[float], believed: float) -> None:
    first = SLOTS_A_DAY + EIGHT
    history = LoadHistory.of(first, came)
    now = (first + 6) * 300.0
    assert season().trusted(history, now).expected_per_s(now) == pytest.approx(believed, rel=0.06)


def test_before_the_first_rise_there_is_nothing_to_distrust() -> None:
    first = SLOTS_A_DAY + EIGHT
    night = LoadHistory.of(first - 12, [0.0] * 12)
    assert season().trusted(night, first * 300.0 - 1.0) == season()


@pytest.mark.parametrize(
    "spoilt",
    [
        {},
        pytest.param({}, id="nothing at all"),
        pytest.param({"means": "AAAA", "fittedSlot": 1}, id="three slots"),
        pytest.param({"means": "no base64!", "fittedSlot": 1}, id="no base64"),
        pytest.param({"means": 7, "fittedSlot": 1}, id="a number"),
        pytest.param({**season().to_plain(), "fittedSlot": "7"}, id="a slot that is a text"),
    ],
)
def test_a_spoilt_season_is_refused(spoilt: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        to_season(spoilt)


def test_a_season_comes_back_as_it_was() -> None:
    again = to_season(season().to_plain())
    assert again == season()
    assert again.requests_per_s[EIGHT] == pytest.approx(4.0, rel=0.03)
    assert not again.flat
