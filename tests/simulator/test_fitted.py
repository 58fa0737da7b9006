"""Simulated policies believe what the cluster's would: the fit of a profile, not its bare cells."""

from __future__ import annotations

from hasgpu.model.profile import Cell, LatencyProfile, Measurement
from hasgpu.simulator.fitted import fitted_surface

CELLS = ((1, 100, 100, 20.6), (1, 70, 80, 20.0), (1, 35, 50, 31.4), (1, 15, 100, 20.6), (1, 5, 30, 53.1))


def profile(product: str = "V100") -> LatencyProfile:
    cells = tuple(
        Cell(batch=batch, sm_percent=sm, quota_percent=quota, latency_ms=ms) for batch, sm, quota, ms in CELLS
    )
    measurement = Measurement(gpu_product=product, gate="launch", window_ms=40.0, cells=cells)
    return LatencyProfile(namespace="", name="m", model="m", memory_bytes=None, measurements=(measurement,))


def test_what_waited_for_its_quota_is_not_taken_for_gpu_time() -> None:
    assert fitted_surface(profile(), "V100").work_s(1, 5) < 0.040


def test_where_nothing_sure_was_measured_the_interval_is_wide() -> None:
    surface = fitted_surface(profile(), "V100")
    assert surface.spread(1, 5) > 2 * surface.spread(1, 100)


def test_cells_of_another_product_are_marked_foreign() -> None:
    assert not fitted_surface(profile(), "V100").foreign
    assert fitted_surface(profile("T4"), "V100").foreign
