"""The fitter as the leader runs it: one order in, one answer out, whatever the order."""

from __future__ import annotations

import subprocess
import sys

import msgspec
import pytest
from hasgpu.fitter.child import answer
from hasgpu.fitter.reference_file import packaged_reference
from hasgpu.model.profile import Cell, Measurement
from hasgpu.prediction.season import SLOTS_A_DAY, LoadHistory, to_season
from hasgpu.prediction.table import to_surface

from tests.prediction.shapes import PLAN, PRODUCT, measured


def test_a_profile_becomes_a_table_and_its_own_error() -> None:
    order = msgspec.json.encode({"measurements": [measured(*PLAN)]})
    found = msgspec.json.decode(answer(order, packaged_reference()))
    assert to_surface(found["fits"][PRODUCT]).work_s(1, 100) == pytest.approx(0.016, rel=0.05)
    assert found["error"]["medianPercent"] < found["error"]["p90Percent"]


def test_one_served_cell_gives_a_table_for_all_shares() -> None:
    """What a service without a profile has after its first requests: work of 20 ms at half of the GPU."""
    cell = Cell(batch=1, sm_percent=50, quota_percent=100, latency_ms=20.0)
    served = Measurement(gpu_product=PRODUCT, gate="gpu-time", window_ms=40.0, cells=(cell,))
    found = msgspec.json.decode(answer(msgspec.json.encode({"measurements": [served]}), packaged_reference()))
    surface = to_surface(found["fits"][PRODUCT])
    assert surface.work_s(1, 50) == pytest.approx(0.020, rel=0.1)
    assert surface.work_s(1, 10) > 0.030
    assert "error" not in found


@pytest.mark.timeout(120)
def test_loads_become_seasons_where_two_days_are_known() -> None:
    two_days = LoadHistory.of(0, [4.0 if slot % SLOTS_A_DAY == 96 else 0.0 for slot in range(2 * SLOTS_A_DAY)])
    histories = {"a": two_days.to_plain(), "b": LoadHistory.of(0, [1.0]).to_plain()}
    found = msgspec.json.decode(answer(msgspec.json.encode({"histories": histories}), packaged_reference()))
    assert to_season(found["seasons"]["a"]).requests_per_s[96] == pytest.approx(4.0, rel=0.1)
    assert found["seasons"]["b"] is None


@pytest.mark.parametrize(
    "order",
    [
        pytest.param(b"{", id="no JSON"),
        pytest.param(b'{"measurements": [{"gpu_product": 7}]}', id="a field of the wrong type"),
        pytest.param(b'{"histories": {"a": {"firstSlot": 0, "means": "!"}}}', id="a history that is spoilt"),
    ],
)
def test_an_order_that_makes_no_sense_is_answered_with_the_problem(order: bytes) -> None:
    assert "problem" in msgspec.json.decode(answer(order, packaged_reference()))


def test_a_profile_that_needs_too_much_memory_is_a_problem_and_no_dead_leader() -> None:
    cells = [
        Cell(batch=1 + n % 8, sm_percent=3 + n % 97, quota_percent=2 + (7 * n) % 99, latency_ms=20.0 + n)
        for n in range(700)
    ]
    asked = Measurement(gpu_product=PRODUCT, gate="launch", window_ms=40.0, cells=tuple(cells))
    order = msgspec.json.encode({"measurements": [asked]})
    command = (sys.executable, "-m", "hasgpu.fitter", "fit")
    done = subprocess.run(command, input=order, capture_output=True, check=True)
    assert "measure along a grid" in msgspec.json.decode(done.stdout)["problem"]


def test_the_child_starts_without_the_heavy_libraries() -> None:
    heavy = "{'sklearn', 'statsmodels', 'scipy'} & set(sys.modules)"
    code = f"import sys, hasgpu.fitter.__main__; print(*({heavy}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
