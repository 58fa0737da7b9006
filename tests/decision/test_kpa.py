"""The scale algorithm decides as Knative's does."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import pytest
from hasgpu.decision.kpa import KpaScaler
from hasgpu.model.decider import DeciderSpec
from hypothesis import given
from hypothesis import strategies as st

T0 = 1_700_000_000.0


def spec_of(target: float = 10, burst: float = 100, **changes: object) -> DeciderSpec:
    spec = DeciderSpec(
        max_scale_up_rate=10,
        max_scale_down_rate=10,
        activator_capacity=150,
        scaling_metric="concurrency",
        target_value=target,
        total_value=target / 0.75,
        target_burst_capacity=burst,
        panic_threshold=2,
        stable_window_s=60,
        panic_window_s=6,
        scale_down_delay_s=0,
        initial_scale=1,
        activation_scale=0,
        reachable=True,
    )
    return replace(spec, **changes)  # type: ignore[arg-type]


@dataclass
class Played:
    """One revision under test: the readings go in, (pods, ebc) come out."""

    spec: DeciderSpec
    ready: int = 1

    def __post_init__(self) -> None:
        self.scaler = KpaScaler(self.spec, self.ready, T0)

    def at(self, offset_s: float, stable: float, panic: float, ready: int | None = None) -> tuple[int, int]:
        self.ready = self.ready if ready is None else ready
        result = self.scaler.scale(self.spec, T0 + offset_s, self.ready, stable, panic)
        return result.desired_pods, result.excess_burst_capacity


@pytest.mark.parametrize(
    ("spec", "ready", "stable", "panic", "want"),
    [
        pytest.param(spec_of(10, 100), 1, 0, 0, (0, -87), id="no load wants no pod"),
        pytest.param(spec_of(181, -1), 1, 21, 26, (1, -1), id="an unlimited burst keeps the activator in path"),
        pytest.param(spec_of(10, 0), 1, 50, 49, (5, 0), id="without burst capacity the excess is zero"),
        pytest.param(spec_of(10, 100), 1, 50, 50, (5, -137), id="load over target is the pod count"),
        pytest.param(spec_of(10, 100), 5, 50, 50, (5, -84), id="enough pods stay"),
        pytest.param(spec_of(10, 84), 1, 50, 100, (10, -171), id="panic load counts where it doubles the pods"),
        pytest.param(
            spec_of(1, 1982, max_scale_up_rate=1.1), 2, 3, 3.1, (3, -1983), id="a slow scale-up grows by one at least"
        ),
        pytest.param(
            spec_of(10, 1982, max_scale_down_rate=1.1), 100, 1, 1, (90, -650), id="scale-down keeps to its rate"
        ),
        pytest.param(
            spec_of(10, 1982, max_scale_down_rate=1.1, reachable=False),
            100,
            1,
            1,
            (1, -650),
            id="an unreachable revision drops at once",
        ),
        pytest.param(spec_of(10, 81), 0, 1000, 888, (10, -969), id="no pod counts as one for rates, as none for burst"),
        pytest.param(spec_of(10, 75, activation_scale=2), 1, 1, 0, (2, -62), id="any load wakes the activation scale"),
        pytest.param(spec_of(10, 75, activation_scale=2), 1, 0, 0, (0, -62), id="no load does not activate"),
        pytest.param(
            spec_of(10, 75, activation_scale=20), 1, 1000, 1000, (20, -1062), id="activation beats the up rate"
        ),
        pytest.param(
            spec_of(10, 100, max_scale_up_rate=math.inf),
            1,
            500,
            500,
            (50, -587),
            id="an infinite up rate limits nothing",
        ),
        pytest.param(spec_of(10, math.inf), 1, 5, 5, (1, -(2**31)), id="an infinite burst is never covered"),
    ],
)
def test_one_evaluation(spec: DeciderSpec, ready: int, stable: float, panic: float, want: tuple[int, int]) -> None:
    assert Played(spec).at(0, stable, panic, ready) == want


def test_panic_ends_a_stable_window_after_the_last_crossing() -> None:
    played = Played(spec_of(1, 98))
    assert played.at(0, 11, 25, ready=10)[0] == 25
    assert played.at(30, 30, 41, ready=40)[0] == 41
    assert played.at(60, 50, 56, ready=55)[0] == 56
    assert played.at(62, 50, 56, ready=55)[0] == 50


def test_a_second_crossing_extends_panic() -> None:
    played = Played(spec_of(1, 98))
    played.at(0, 11, 25, ready=10)
    assert played.at(30, 30, 80, ready=40)[0] == 80
    assert played.at(62, 1, 1, ready=80)[0] == 80
    assert played.at(91, 1, 1, ready=80)[0] == 8


def test_panic_never_scales_down_and_takes_the_larger_of_both_values() -> None:
    played = Played(spec_of(1, 100), ready=5)
    assert played.at(5, 50, 30) == (50, -124)
    assert played.at(7, 20, 30)[0] == 50


def test_a_restart_with_several_pods_starts_in_panic() -> None:
    assert Played(spec_of(), ready=2).at(0, 0, 0)[0] == 2
    assert Played(spec_of(), ready=1).at(0, 0, 0)[0] == 0


def test_scale_down_waits_for_the_delay_window() -> None:
    played = Played(spec_of(10, 0, scale_down_delay_s=300, panic_threshold=100))
    assert played.at(2, 40, 40)[0] == 4
    assert played.at(300, 0, 0)[0] == 4
    assert played.at(302, 0, 0)[0] == 0


def test_an_unreachable_revision_ignores_the_delay_window() -> None:
    played = Played(spec_of(10, 0, scale_down_delay_s=300, panic_threshold=100))
    played.at(2, 40, 40)
    played.spec = replace(played.spec, reachable=False)
    assert played.at(4, 0, 0)[0] == 0


@given(
    st.integers(0, 50),
    st.floats(0, 1e6),
    st.floats(0, 1e6),
    st.floats(0.01, 1e3),
    st.floats(1.01, 1000),
    st.floats(1.01, 10),
)
def test_one_decision_stays_within_both_rates(
    ready: int, stable: float, panic: float, target: float, up: float, down: float
) -> None:
    spec = spec_of(target, 100, max_scale_up_rate=up, max_scale_down_rate=down)
    result = KpaScaler(spec, ready, T0).scale(spec, T0, ready, stable, panic)
    one = max(1, ready)
    assert int(one / down) <= result.desired_pods <= max(int(up * one) + 1, ready)
