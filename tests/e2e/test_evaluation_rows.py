"""The row of the evaluation's slots-or-tokens experiment: nobody runs twice at once, and lending only helps."""

from __future__ import annotations

import numpy as np
import pytest
from hasgpu.simulator.lane import lay
from hypothesis import given, settings
from hypothesis import strategies as st

from e2e.evaluation.rows import serve

WORK_S = 0.012


def arrivals(seed: int, rate: float, seconds: float = 20.0) -> np.ndarray:
    chance = np.random.default_rng(seed)
    return np.sort(chance.random(chance.poisson(rate * seconds)) * seconds)


def test_a_pod_in_slots_is_served_as_by_its_lane() -> None:
    came = arrivals(1, 10.0)
    lane = lay([("0", 40)], 0.04)["0"]
    free, expected = 0.0, []
    for at in came:
        free = lane.finish(max(free, float(at)), WORK_S)
        expected.append(free - at)
    (mate,) = serve([came], [WORK_S], [40], "slots")
    assert mate.taken == pytest.approx(expected, abs=1e-6)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.integers(10, 50), st.sampled_from(["slots", "token", "borrow"]))
def test_every_request_is_served_once_and_takes_at_least_its_work(seed: int, quota: int, mode: str) -> None:
    came = [arrivals(seed, 6.0, 5.0), arrivals(seed + 1, 6.0, 5.0)]
    mates = serve(came, [WORK_S, WORK_S], [quota, quota], mode)  # type: ignore[arg-type]
    for mate, each in zip(mates, came, strict=True):
        assert len(mate.taken) == len(each)
        assert all(taken >= WORK_S - 1e-9 for taken in mate.taken)


def test_lending_idle_slots_makes_nobody_wait_longer_on_average() -> None:
    came = [arrivals(3, 8.0), arrivals(4, 8.0)]
    means = {
        mode: np.mean([taken for mate in serve(came, [WORK_S, WORK_S], [30, 30], mode) for taken in mate.taken])  # type: ignore[arg-type]
        for mode in ("slots", "borrow")
    }
    assert means["borrow"] < means["slots"]
