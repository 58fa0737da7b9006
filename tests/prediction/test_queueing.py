"""The M/D/1 wait against textbook values and its own shape."""

from __future__ import annotations

import numpy as np
import pytest
from hasgpu.prediction.queueing import LOADS, waiting_tail


@pytest.mark.parametrize("load", [0.1, 0.5, 0.8, 0.9])
def test_the_mean_wait_is_that_of_pollaczek_and_khinchine(load: float) -> None:
    grid = np.arange(0.0, 400.0, 0.01)
    assert float(np.trapezoid(waiting_tail(load, grid), grid)) == pytest.approx(load / (2 * (1 - load)), rel=0.01)


@pytest.mark.parametrize("load", [0.1, 0.5, 0.9])
def test_a_request_waits_with_the_probability_that_the_server_is_busy(load: float) -> None:
    assert waiting_tail(load, np.array([0.0]))[0] == pytest.approx(load)


def test_the_tail_falls_with_the_wait_and_rises_with_the_load() -> None:
    waits = np.linspace(0.0, 20.0, 200)
    tails = np.stack([waiting_tail(load, waits) for load in LOADS])
    assert np.all(np.diff(tails, axis=1) <= 1e-9)
    assert np.all(np.diff(tails, axis=0) >= -1e-9)


def test_a_deadline_that_has_passed_is_certainly_missed() -> None:
    assert waiting_tail(0.3, np.array([-0.1]))[0] == 1.0
