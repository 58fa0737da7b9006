"""The predictor from any subset of cells: exact where it was measured, monotone everywhere, unsure where it must be."""

from __future__ import annotations

import numpy as np
import pytest
from hasgpu.fitter.reference_file import packaged_reference
from hasgpu.model.profile import Cell, Measurement
from hasgpu.prediction.cells import GRID_QUOTAS, GRID_SMS, line_weights, product_of
from hasgpu.prediction.monotone import falling_table
from hasgpu.prediction.quota_law import mean_latency_s
from hasgpu.prediction.rapp import fit_rapp, left_one_out
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.prediction.shapes import GRID, PLAN, measured, reference, true_ms

REFERENCE = reference()


def test_twenty_five_cells_give_the_whole_surface_within_a_few_percent() -> None:
    table = fit_rapp(REFERENCE, measured(*PLAN))
    errors = np.abs(1000.0 * table.predict(GRID).latency_s / true_ms(GRID) - 1.0)
    assert float(np.median(errors)) < 0.02
    assert float(errors.mean()) < 0.06


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.sampled_from([(b, s, q) for b in (1, 4, 8) for s in (5, 30, 100) for q in (10, 40, 100)]), max_size=9)
)
def test_any_subset_of_cells_gives_a_falling_surface_inside_its_interval(rows: list[tuple[int, int, int]]) -> None:
    prediction = fit_rapp(REFERENCE, measured(*rows)).predict(GRID)
    assert np.isfinite(prediction.high_s).all()
    for seconds in (prediction.latency_s, prediction.high_s):
        table = seconds.reshape(-1, len(GRID_SMS), len(GRID_QUOTAS))
        assert (np.diff(table, axis=1) <= 1e-9).all()
        assert (np.diff(table, axis=2) <= 1e-9).all()
    assert (prediction.low_s < prediction.latency_s).all()
    assert (prediction.latency_s < prediction.high_s).all()


def test_what_half_the_gpu_is_measured_to_do_the_whole_is_sure_to_do() -> None:
    rows = ((1, 100, 20.0), (1, 50, 40.0), (1, 20, 80.0), (2, 100, 39.0))
    cells = tuple(Cell(batch=b, sm_percent=50, quota_percent=q, latency_ms=ms) for b, q, ms in rows)
    measurement = Measurement(gpu_product="T", gate="launch", window_ms=40.0, cells=cells)
    at = product_of((1,), (50, 60, 80, 100), (100,))
    high_s = fit_rapp(packaged_reference(), measurement).predict(at).high_s
    assert 0.020 < high_s[0] < 0.022
    assert (high_s <= high_s[0]).all()


def test_the_interval_is_widest_where_nothing_was_measured() -> None:
    table = fit_rapp(REFERENCE, measured((1, 100, 100), (1, 100, 50)))
    near, far = product_of((1,), (100,), (100,)), product_of((8,), (5,), (10,))
    width = [np.log(p.high_s / p.low_s)[0] for p in (table.predict(near), table.predict(far))]
    assert width[1] > 3.0 * width[0]


def test_no_cell_at_all_gives_the_typical_model() -> None:
    prediction = fit_rapp(REFERENCE, measured()).predict(GRID)
    assert np.isfinite(prediction.latency_s).all()


def test_points_beyond_the_measured_cells_are_told_apart() -> None:
    table = fit_rapp(REFERENCE, measured((1, 20, 100), (4, 100, 50)))
    assert table.within_cells(product_of((2,), (5, 50), (60,))).tolist() == [False, True]


def test_a_profile_under_the_launch_gate_tells_latency_under_the_gpu_time_gate_from_its_work() -> None:
    table = fit_rapp(REFERENCE, measured(*PLAN))
    at = product_of((8,), (20,), (50,))
    work_s = table.predict(product_of((8,), (20,), (100,))).latency_s
    assert table.predict(at, "gpu-time").latency_s == pytest.approx(mean_latency_s(work_s, 0.5, 0.04))


def test_a_profile_under_the_gpu_time_gate_says_how_little_it_knows_of_launching() -> None:
    table = fit_rapp(REFERENCE, measured((1, 100, 100), (8, 5, 100), gate="gpu-time"))
    at = product_of((1,), (100,), (10,))
    launch, own = table.predict(at, "launch"), table.predict(at)
    assert launch.high_s[0] / launch.low_s[0] > 1.5 * own.high_s[0] / own.low_s[0]


def test_a_cell_of_the_gpu_time_gate_is_read_as_work() -> None:
    work_s = 0.016
    cell_ms = 1000.0 * float(mean_latency_s(work_s, 0.5, 0.04))
    measurement = measured((1, 100, 50), gate="gpu-time")
    cell = measurement.cells[0]
    told = type(measurement)(
        gpu_product=measurement.gpu_product,
        gate="gpu-time",
        window_ms=40.0,
        cells=(type(cell)(batch=1, sm_percent=100, quota_percent=50, latency_ms=cell_ms),),
    )
    predicted_s = fit_rapp(REFERENCE, told).predict(product_of((1,), (100,), (100,))).latency_s[0]
    assert predicted_s == pytest.approx(work_s, rel=0.03)


def test_below_the_least_share_the_interval_of_work_reaches_what_one_over_sm_would_be() -> None:
    cell = Cell(batch=1, sm_percent=50, quota_percent=100, latency_ms=26.7)
    measurement = Measurement(gpu_product="T", gate="gpu-time", window_ms=40.0, cells=(cell,))
    fewer = fit_rapp(packaged_reference(), measurement).predict(product_of((1,), (5,), (100,)))
    assert fewer.latency_s[0] < 0.2 < 0.26 < fewer.high_s[0]


def test_leaving_a_cell_out_is_like_never_having_measured_it() -> None:
    full = measured(*PLAN)
    left_out = left_one_out(REFERENCE, full)
    index = PLAN.index((4, 20, 100))
    without = measured(*(row for row in PLAN if row != PLAN[index]))
    refitted_s = fit_rapp(REFERENCE, without).predict(product_of((4,), (20,), (100,))).latency_s[0]
    assert refitted_s * 1000.0 / full.cells[index].latency_ms == pytest.approx(np.exp(left_out[index]), rel=0.02)


def test_between_two_lines_weights_are_shared_in_logarithms() -> None:
    assert line_weights((10, 40), [20])[0].tolist() == pytest.approx([0.5, 0.5])


def test_a_falling_table_moves_the_trusted_value_least() -> None:
    table, trust = np.array([[[3.0, 1.0, 2.0]]]), np.array([[[1.0, 3.0, 1.0]]])
    assert falling_table(table, trust).ravel().tolist() == pytest.approx([3.0, 1.25, 1.25])
