"""The latency surface from any subset of cells."""

from __future__ import annotations

import itertools

import pytest
from hasgpu.model.profile import Cell, Gate, LatencyProfile, Measurement
from hasgpu.prediction.quota_law import mean_latency_s
from hasgpu.prediction.surface import FAR_SPREAD, FOREIGN_SPREAD, NEAR_SPREAD, Surface, fit_surface, surface_of_work
from hypothesis import given, settings
from hypothesis import strategies as st

V100 = "Tesla-V100-SXM2-16GB"


def profile(*cells: tuple[int, int, int, float], gate: Gate = "launch", product: str = V100) -> LatencyProfile:
    measured = tuple(Cell(batch=b, sm_percent=s, quota_percent=q, latency_ms=ms) for b, s, q, ms in cells)
    measurement = Measurement(gpu_product=product, gate=gate, window_ms=40.0, cells=measured)
    return LatencyProfile(namespace="n", name="p", model="m", memory_bytes=None, measurements=(measurement,))


def surface(*cells: tuple[int, int, int, float], gate: Gate = "launch") -> Surface:
    fitted = fit_surface(profile(*cells, gate=gate), V100)
    assert fitted is not None
    return fitted


@pytest.mark.parametrize(
    ("batch", "sm", "expected_ms"),
    [
        pytest.param(1, 50, 20.0, id="a measured cell is given back"),
        pytest.param(1, 100, 20.0, id="more SMs than measured are not believed to help"),
        pytest.param(1, 25, 40.0, id="half the SMs are taken to need twice the time"),
        pytest.param(2, 50, 40.0, id="twice the batch is taken to need twice the time"),
    ],
)
def test_one_cell_is_enough_and_the_rest_is_guessed_on_the_careful_side(
    batch: int, sm: int, expected_ms: float
) -> None:
    assert surface((1, 50, 100, 20.0)).work_s(batch, sm) == pytest.approx(expected_ms / 1e3)


def test_between_cells_the_time_is_interpolated_in_logarithms() -> None:
    fitted = surface((1, 25, 100, 40.0), (1, 100, 100, 10.0))
    assert fitted.work_s(1, 50) == pytest.approx(0.020)


def test_a_cell_measured_under_the_gpu_time_gate_gives_its_work() -> None:
    latency_s = float(mean_latency_s(0.030, 0.4, 0.040))
    fitted = surface((1, 50, 40, 1e3 * latency_s), gate="gpu-time")
    assert fitted.work_s(1, 50) == pytest.approx(0.030, rel=1e-3)


def test_the_launch_law_is_read_where_the_gate_binds_and_not_where_the_gpu_does() -> None:
    fitted = surface((1, 100, 100, 20.0), (1, 100, 20, 150.0), (8, 5, 100, 250.0), (8, 5, 20, 252.0))
    assert fitted.launch_s(20) == pytest.approx(0.150)
    assert fitted.launch_s(100) == pytest.approx(0.020)


def test_a_profile_without_cells_is_no_surface() -> None:
    assert fit_surface(profile(), V100) is None


def test_cells_of_another_gpu_are_used_but_not_trusted() -> None:
    fitted = fit_surface(profile((1, 50, 100, 20.0), product="NVIDIA-L4"), V100)
    assert fitted is not None
    assert fitted.foreign
    assert fitted.spread(1, 50) == FOREIGN_SPREAD


def test_the_spread_tells_interpolation_from_guessing() -> None:
    fitted = surface((1, 25, 100, 40.0), (1, 100, 100, 10.0))
    assert fitted.spread(1, 50) == NEAR_SPREAD
    assert fitted.spread(1, 10) == FAR_SPREAD
    assert fitted.spread(4, 50) == FAR_SPREAD


def test_a_surface_from_traffic_keeps_its_level_and_can_be_scaled() -> None:
    assert surface_of_work(1, 20, 0.030).scaled(1.3).work_s(1, 20) == pytest.approx(0.039)


cells = st.lists(
    st.tuples(
        st.sampled_from([1, 2, 4, 8]),
        st.sampled_from([5, 20, 50, 100]),
        st.sampled_from([10, 40, 100]),
        st.floats(0.5, 900.0),
    ),
    min_size=1,
    max_size=25,
)


@settings(deadline=None)
@given(cells, st.sampled_from(["launch", "gpu-time"]))
def test_whatever_was_measured_more_sm_is_never_slower_and_more_batch_never_faster(
    measured: list[tuple[int, int, int, float]], gate: Gate
) -> None:
    fitted = surface(*measured, gate=gate)
    for batch in (1, 3, 8, 16):
        over_sm = [fitted.work_s(batch, sm) for sm in (1, 5, 12, 35, 60, 100)]
        assert all(b <= a * (1 + 1e-9) for a, b in itertools.pairwise(over_sm))
    for sm in (5, 35, 100):
        over_batch = [fitted.work_s(batch, sm) for batch in (1, 2, 3, 8, 16)]
        assert all(b >= a * (1 - 1e-9) for a, b in itertools.pairwise(over_batch))
