"""Quantiles of the load: calibrated, quick to rise, one column a function."""

from __future__ import annotations

import numpy as np
from hasgpu.prediction.quantile_load import QuantileLoads


def run(rates: list[float], functions: int = 200) -> tuple[QuantileLoads, list[float]]:
    """Poisson counts at these rates; how often the 95 % quantile held in each five-second slot."""
    chance = np.random.default_rng(7)
    loads = QuantileLoads.starting(np.full(functions, rates[0], dtype=np.float32), span_s=5.0, quantile=0.95)
    held = []
    for rate in rates:
        counts = chance.poisson(rate, (5, functions)).astype(np.float32)
        held.append(float((counts.mean(axis=0) <= loads.upper_requests_per_s()).mean()))
        loads = loads.scored(counts.mean(axis=0))
        for second in counts:
            loads = loads.observed(second)
    return loads, held


def test_of_a_steady_load_the_quantile_holds_as_often_as_it_says() -> None:
    _, held = run([10.0] * 80)
    assert 0.93 < float(np.mean(held[30:])) < 0.97


def test_a_steady_load_is_known_to_within_its_own_noise() -> None:
    loads, _ = run([10.0] * 80)
    # Mean 10 and Poisson noise of a five-second mean, 1.645 sqrt(10 / 5) = 2.3.
    assert 11.5 < float(loads.upper_requests_per_s().mean()) < 13.5


def test_a_fivefold_rise_is_followed_within_two_slots() -> None:
    loads, _ = run([5.0] * 40 + [25.0] * 2)
    assert float(loads.upper_requests_per_s().min()) > 22.0


def test_a_silent_function_is_told_less_than_a_request_a_second() -> None:
    loads, _ = run([0.0] * 40)
    assert float(loads.upper_requests_per_s().max()) < 1.0
