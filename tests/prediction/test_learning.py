"""Learning while serving: heals level and shape, is bounded, fades, and learns nothing from overload."""

from __future__ import annotations

import json
import math
import random

import pytest
from hasgpu.model.profile import Cell, LatencyProfile, Measurement
from hasgpu.prediction.learning import BOUND, HALF_LIFE_S, ServedWork, from_plain, healed, to_plain
from hasgpu.prediction.surface import Surface, fit_surface, surface_of_work

FLAT = surface_of_work(1, 1, 0.010)
"""10 ms at every share."""


def served(*rows: tuple[int, float], requests: float = 300.0) -> ServedWork:
    """Of GPU-bound requests: their latency leaves no room for anything else."""
    work = ServedWork()
    for sm, ratio in rows:
        work = work.observed(sm, 0.01 * ratio, requests, now=0.0, most_s=0.01 * ratio)
    return work


def factor(work: ServedWork, sm: int, now: float = 0.0) -> float:
    return math.exp(work.log_factors(FLAT, [sm], now)[0])


def test_a_profile_thirty_percent_too_fast_is_healed_at_every_share_after_three_hundred_requests() -> None:
    work = served((20, 1.3))
    assert factor(work, 20) == pytest.approx(1.3, rel=0.01)
    assert factor(work, 60) == pytest.approx(1.3, rel=0.1)


def test_a_wrong_shape_is_healed_where_it_was_served() -> None:
    work = served((10, 1.4), (80, 0.9))
    assert factor(work, 10) == pytest.approx(1.4, rel=0.02)
    assert factor(work, 80) == pytest.approx(0.9, rel=0.02)
    assert 0.9 < factor(work, 30) < 1.4


def test_no_measurement_moves_a_prediction_beyond_its_bound() -> None:
    assert factor(served((20, 1e6)), 20) <= math.exp(BOUND) + 1e-9


@pytest.mark.parametrize(
    ("work_ms", "most_ms", "believed"),
    [
        pytest.param(5.0, 20.0, 1.0, id="a host that leaves the GPU idle explains the difference"),
        pytest.param(5.0, None, 1.0, id="GPU time alone is only the least"),
        pytest.param(13.0, 20.0, 1.3, id="more GPU time than predicted is more"),
        pytest.param(5.0, 8.0, 0.8, id="less latency than predicted is less"),
    ],
)
def test_a_prediction_moves_only_as_far_as_it_lies_outside(
    work_ms: float, most_ms: float | None, believed: float
) -> None:
    most_s = None if most_ms is None else most_ms / 1e3
    work = ServedWork().observed(20, work_ms / 1e3, 300.0, now=0.0, most_s=most_s)
    assert factor(work, 20) == pytest.approx(believed, rel=0.01)


def test_without_a_prediction_an_idle_gpu_counts_as_taken() -> None:
    bound = ServedWork().observed(50, 0.020, 20.0, now=0.0, most_s=0.025)
    idle = ServedWork().observed(50, 0.007, 20.0, now=0.0, most_s=0.017)
    assert [cell.latency_ms for cell in (*bound.cells(), *idle.cells())] == pytest.approx([20.0, 17.0])


def test_the_most_is_told_by_the_windows_in_which_requests_took_least() -> None:
    """Of ten windows on a busy machine every fifth is undisturbed: 30 ms, of which 28 are GPU time."""
    work = ServedWork()
    for window in range(10):
        most_s = 0.030 if window % 5 == 2 else 0.060
        work = work.observed(50, 0.028, 20.0, now=float(window), most_s=most_s)
    (cell,) = work.cells()
    assert cell.latency_ms == pytest.approx(28.0)


def test_overload_teaches_nothing() -> None:
    assert ServedWork().observed(20, 0.05, 100.0, 0.0, overloaded=True) == ServedWork()


def test_what_was_learnt_fades() -> None:
    work = served((20, 1.3), requests=1.0)
    assert 1.0 < factor(work, 20, now=6 * HALF_LIFE_S) < factor(work, 20)


def test_a_change_of_the_model_is_learnt_as_the_old_fades() -> None:
    work = served((20, 1.0), requests=1000.0).observed(20, 0.02, 200.0, now=4 * HALF_LIFE_S)
    assert factor(work, 20, now=4 * HALF_LIFE_S) > 1.6


def test_nothing_learnt_changes_nothing() -> None:
    assert factor(ServedWork(), 50) == 1.0
    assert healed(FLAT, ServedWork(), 0.0) is FLAT


@pytest.mark.parametrize("seed", range(4))
def test_a_profile_wrong_in_level_and_shape_heals_within_three_hundred_requests(seed: int) -> None:
    """The truth falls as SM^-0.8 from 40 ms at 10 %, the profile says 30 % less and SM^-0.4; requests scatter."""
    chance = random.Random(seed)
    wrong = _power(0.028, 0.4)
    true = _power(0.040, 0.8)
    work = ServedWork()
    for sm in (10, 20, 50):
        for _ in range(5):
            mean = sum(true.work_s(1, sm) * chance.lognormvariate(0.0, 0.2) for _ in range(20)) / 20
            work = work.observed(sm, mean, 20.0, now=0.0, most_s=mean)
    heals = healed(wrong, work, 0.0)
    for sm in (10, 15, 20, 35, 50):
        assert heals.work_s(1, sm) == pytest.approx(true.work_s(1, sm), rel=0.12)
    assert wrong.work_s(1, 10) / true.work_s(1, 10) == pytest.approx(0.7, rel=0.01)
    assert wrong.work_s(1, 50) / true.work_s(1, 50) > 1.3


def test_what_is_kept_in_a_status_is_what_was_learnt() -> None:
    work = served((10, 1.4), (80, 0.9))
    kept = from_plain(json.loads(json.dumps(to_plain(work))))
    assert factor(kept, 30) == pytest.approx(factor(work, 30), rel=1e-3)


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param("no", id="not a list"),
        pytest.param([{"sm": 0, "workMs": 1.0, "requests": 1.0, "at": 0}], id="no SM share"),
        pytest.param([{"sm": 10, "workMs": "x", "requests": 1.0, "at": 0}], id="a word for a number"),
        pytest.param([{"sm": 10, "workMs": 1.0, "at": 0}], id="no weight"),
    ],
)
def test_a_kept_share_that_makes_no_sense_is_refused(rows: object) -> None:
    with pytest.raises(ValueError, match="served"):
        from_plain(rows)


def _power(at_ten_s: float, exponent: float) -> Surface:
    sms = (5, 10, 20, 50, 100)
    cells = tuple(
        Cell(batch=1, sm_percent=sm, quota_percent=100, latency_ms=1e3 * at_ten_s * (10 / sm) ** exponent) for sm in sms
    )
    measurement = Measurement(gpu_product="x", gate="gpu-time", window_ms=40.0, cells=cells)
    profile = LatencyProfile(namespace="", name="", model="", memory_bytes=None, measurements=(measurement,))
    surface = fit_surface(profile, "x")
    assert surface is not None
    return surface
