"""Learning while serving: heals level and shape, is bounded, fades, and learns nothing from overload."""

from __future__ import annotations

import math

import pytest
from hasgpu.prediction.learning import BOUND, HALF_LIFE_S, ServedWork, healed
from hasgpu.prediction.surface import surface_of_work


def served(*rows: tuple[int, float], requests: float = 300.0) -> ServedWork:
    work = ServedWork()
    for sm, ratio in rows:
        work = work.observed(sm, 0.01 * ratio, 0.01, requests, now=0.0, overloaded=False)
    return work


def test_a_profile_thirty_percent_too_fast_is_healed_at_every_share_after_three_hundred_requests() -> None:
    work = served((20, 1.3))
    assert work.factor(20, 0.0) == pytest.approx(1.3, rel=0.01)
    assert work.factor(60, 0.0) == pytest.approx(1.3, rel=0.1)


def test_a_wrong_shape_is_healed_where_it_was_served() -> None:
    work = served((10, 1.4), (80, 0.9))
    assert work.factor(10, 0.0) == pytest.approx(1.4, rel=0.02)
    assert work.factor(80, 0.0) == pytest.approx(0.9, rel=0.02)
    assert 0.9 < work.factor(30, 0.0) < 1.4


def test_no_measurement_moves_a_prediction_beyond_its_bound() -> None:
    assert served((20, 1e6)).factor(20, 0.0) <= math.exp(BOUND) + 1e-9


def test_overload_teaches_nothing() -> None:
    assert ServedWork().observed(20, 0.05, 0.01, 100.0, 0.0, overloaded=True) == ServedWork()


def test_what_was_learnt_fades() -> None:
    work = served((20, 1.3), requests=1.0)
    later = work.factor(20, 6 * HALF_LIFE_S)
    assert 1.0 < later < work.factor(20, 0.0)


def test_nothing_learnt_changes_nothing() -> None:
    assert ServedWork().factor(50, 0.0) == 1.0


def test_a_surface_is_healed_by_what_was_served() -> None:
    surface = surface_of_work(1, 20, 0.010)
    assert healed(surface, served((20, 1.3)), 0.0).work_s(1, 20) == pytest.approx(0.013, rel=0.01)
