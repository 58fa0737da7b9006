"""Whose cells serve a GPU product: decided in one place for the surface, the cluster's tables and the simulator."""

from __future__ import annotations

import pytest
from hasgpu.model.profile import Cell, LatencyProfile, Measurement

CELL = Cell(batch=1, sm_percent=100, quota_percent=100, latency_ms=20.0)


def measurement(product: str, *cells: Cell) -> Measurement:
    return Measurement(gpu_product=product, gate="launch", window_ms=40.0, cells=cells)


def profile(*measurements: Measurement) -> LatencyProfile:
    return LatencyProfile(namespace="", name="m", model="m", memory_bytes=None, measurements=measurements)


@pytest.mark.parametrize(
    ("measurements", "serving"),
    [
        pytest.param((measurement("T4", CELL), measurement("V100", CELL)), "V100", id="its own win over earlier ones"),
        pytest.param((measurement("T4", CELL), measurement("A2", CELL)), "T4", id="without its own, the first others"),
        pytest.param((measurement("V100"), measurement("T4", CELL)), "T4", id="an empty list of its own is none"),
        pytest.param((measurement("V100"),), None, id="without any cell nothing serves"),
    ],
)
def test_whose_cells_serve(measurements: tuple[Measurement, ...], serving: str | None) -> None:
    assert profile(*measurements).product_serving("V100") == serving


def test_only_measurements_with_cells_of_that_product_are_read() -> None:
    told = profile(measurement("T4", CELL), measurement("V100"), measurement("V100", CELL))
    assert told.measured_on("V100") == (measurement("V100", CELL),)
