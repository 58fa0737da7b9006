"""The forecast of many rates: calm where the load is calm, quick where it rises, and as often right as it says."""

from __future__ import annotations

import numpy as np
import pytest
from hasgpu.prediction.forecast import Levels, Reals, Slots
from hypothesis import given, settings
from hypothesis import strategies as st


class Followed:
    """Some functions, a second after another; slots of five seconds, at their 95 %."""

    def __init__(self, first: Reals) -> None:
        self.levels = Levels.first(first)
        self.slots = Slots.first(len(first), span_s=5.0, quantile=0.95)
        self.slots.begin(self.levels)
        self.held: list[float] = []

    def second(self, counts: Reals) -> None:
        ones = np.ones(len(counts), dtype=np.float32)
        self.levels.observe(counts, ones, ones)
        self.slots.count(np.array([counts, ones]))
        if self.slots.ended.all():
            requests, seconds = self.slots.seen
            self.held.append(float((requests / seconds <= self.slots.told).mean()))
            self.slots.begin(self.levels)

    @property
    def upper(self) -> Reals:
        return self.slots.upper(self.levels)

    @property
    def cautious(self) -> Reals:
        return self.slots.cautious(self.levels)


def poisson(rates: list[float], functions: int = 200) -> Followed:
    """Poisson counts at these rates, one a second."""
    chance = np.random.default_rng(7)
    followed = Followed(chance.poisson(rates[0], functions).astype(np.float32))
    for rate in rates:
        followed.second(chance.poisson(rate, functions).astype(np.float32))
    return followed


def given_counts(counts: list[float]) -> Followed:
    followed = Followed(np.array(counts[:1], dtype=np.float32))
    for count in counts[1:]:
        followed.second(np.array([count], dtype=np.float32))
    return followed


@pytest.mark.parametrize("rate", [1.0, 10.0, 100.0])
def test_of_a_steady_load_the_quantile_holds_as_often_as_it_says(rate: float) -> None:
    assert 0.93 < float(np.mean(poisson([rate] * 400).held[30:])) < 0.97


def test_a_steady_load_is_known_to_within_its_own_noise() -> None:
    # Mean 10 and Poisson noise of a five-second mean, 1.645 sqrt(10 / 5) = 2.3.
    assert 11.5 < float(poisson([10.0] * 400).upper.mean()) < 13.5


def test_a_fivefold_rise_is_prepared_for_with_the_first_report_that_shows_it() -> None:
    assert given_counts([5.0] * 300 + [25.0]).cautious[0] >= 20.0


def test_a_rise_that_may_be_chance_is_prepared_for_and_forgotten_with_the_next_second() -> None:
    calm, risen = given_counts([10.0] * 300), given_counts([10.0] * 300 + [20.0])
    assert risen.cautious[0] > calm.cautious[0] + 4.0
    risen.second(np.array([10.0], dtype=np.float32))
    assert risen.cautious[0] < calm.cautious[0] + 2.0


def test_a_fall_is_followed_more_slowly_than_a_rise() -> None:
    down, up = given_counts([25.0] * 300 + [5.0]), given_counts([5.0] * 300 + [25.0])
    assert down.cautious[0] > 20.0
    assert up.cautious[0] > 20.0
    assert given_counts([25.0] * 300 + [5.0] * 120).cautious[0] < 10.0


def test_over_a_longer_time_chance_evens_out() -> None:
    levels = poisson([10.0] * 100).levels
    near, far = (Slots.first(200, span_s=span, quantile=0.95).upper(levels).mean() for span in (5.0, 30.0))
    assert 10.0 < far < near


def test_a_load_that_is_wilder_than_chance_calibrates_the_quantile() -> None:
    chance, followed = np.random.default_rng(5), Followed(np.full(200, 10.0, dtype=np.float32))
    for _ in range(700):
        rates = 10.0 * chance.gamma(5.0, 0.2, 200)
        for _ in range(5):
            followed.second(chance.poisson(rates).astype(np.float32))
    assert np.mean(followed.held[5:25]) < 0.93
    assert np.mean(followed.held[-100:]) > np.mean(followed.held[5:25]) + 0.01


def test_a_silent_function_is_told_less_than_a_request_a_second_and_unlearns_nothing() -> None:
    silent = given_counts([10.0] * 500 + [0.0] * 300)
    learnt = silent.slots.multiple.copy()
    for _ in range(500):
        silent.second(np.zeros(1, dtype=np.float32))
    assert silent.cautious[0] < 1.0
    assert np.array_equal(silent.slots.multiple, learnt)


def test_of_two_reporters_each_report_weighs_half() -> None:
    levels = Levels.first(np.full(3, 4.0, dtype=np.float32))
    before, ones = levels.root[0, 0], np.ones(3, dtype=np.float32)
    levels.observe(6.0 * ones, np.array([1.0, 0.5, 0.0], dtype=np.float32), ones)
    alone, shared, none = levels.root[0]
    assert none == before < shared < alone


def test_functions_do_not_know_of_each_other() -> None:
    counts = np.random.default_rng(1).poisson(8.0, (60, 2)).astype(np.float32)
    both = Followed(counts[0])
    for second in counts[1:]:
        both.second(second)
    alone = given_counts([float(each) for each in counts[:, 1]])
    assert both.upper[1] == alone.upper[0]


@settings(deadline=None)
@given(st.lists(st.floats(0.0, 1e5), min_size=1, max_size=40))
def test_whatever_is_reported_the_forecast_is_a_finite_rate(counts: list[float]) -> None:
    followed = given_counts(counts)
    assert 0.0 < followed.upper[0] <= followed.cautious[0] < 1e8
