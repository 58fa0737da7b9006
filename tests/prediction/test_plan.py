"""Which cells to measure next."""

from __future__ import annotations

from hasgpu.prediction.plan import first_plan, next_cells, work_plan

from tests.prediction.shapes import PLAN, measured, reference


def test_the_default_plan_is_the_twenty_five_cells_of_the_best_known_design() -> None:
    chosen = {(cell.batch, cell.sm, cell.quota) for cell in first_plan(reference(), 25)}
    assert chosen == set(PLAN)


def test_a_short_plan_has_the_ends_of_every_axis() -> None:
    chosen = {(cell.batch, cell.sm, cell.quota) for cell in first_plan(reference(), 3)}
    assert chosen == {(1, 100, 100), (8, 5, 100), (1, 100, 20)}


def test_an_adaptive_plan_stops_once_the_interval_is_tight_enough() -> None:
    assert next_cells(reference(), measured(*PLAN), most=5, target_percent=1000.0) == ()


def test_an_adaptive_plan_measures_nothing_twice() -> None:
    cells = next_cells(reference(), measured(*PLAN), most=4, target_percent=0.0)
    chosen = {(cell.batch, cell.sm, cell.quota) for cell in cells}
    assert len(chosen) == 4
    assert not chosen & set(PLAN)


def test_every_cell_has_a_price_in_gpu_seconds() -> None:
    assert all(cell.price_s > 0.15 for cell in first_plan(reference(), 25))


def test_under_the_gpu_time_gate_both_ends_of_batch_are_measured_at_every_share() -> None:
    cells = work_plan((1, 4, 8))
    assert len(cells) == len(set(cells)) == 12
    assert {quota for _, _, quota in cells} == {100}
    assert {batch for batch, sm, _ in cells if sm == 5} == {1, 8}
