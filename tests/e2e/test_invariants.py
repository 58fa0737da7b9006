"""The judge of the kills sees what it must see."""

from typing import Any

from e2e.chaos.invariants import overcommitted, phantoms


def pod(name: str, *, row: int = 0, sm: int = 20, quota: int = 50, phase: str = "Running") -> dict[str, Any]:
    return {
        "metadata": {
            "name": name,
            "annotations": {
                "slice.hasgpu.dev/gpu": "GPU-1",
                "slice.hasgpu.dev/row": str(row),
                "slice.hasgpu.dev/sm-partition": str(sm),
                "slice.hasgpu.dev/gpu-memory": "1024",
                "slice.hasgpu.dev/time-quota": str(quota),
                "slice.hasgpu.dev/generation": "1",
            },
        },
        "status": {"phase": phase},
    }


def gpu(*rows: tuple[int, int]) -> dict[str, Any]:
    return {"spec": {"uuid": "GPU-1"}, "status": {"rows": [{"row": row, "pods": count} for row, count in rows]}}


def test_a_full_row_is_no_violation_and_one_point_more_is() -> None:
    assert overcommitted([pod("a"), pod("b")]) == []
    assert overcommitted([pod("a"), pod("b", quota=51)]) == ["row 0 of GPU-1 holds 101 % of time"]


def test_rows_wider_than_the_gpu_are_a_violation() -> None:
    assert overcommitted([pod("a", sm=60), pod("b", row=1, sm=50)]) == ["GPU-1 holds 110 % of SMs"]


def test_a_finished_pod_holds_nothing() -> None:
    assert overcommitted([pod("a"), pod("b"), pod("c", phase="Failed")]) == []


def test_a_gpu_that_counts_a_pod_too_many_or_too_few_is_told() -> None:
    assert phantoms([gpu((0, 1))], [pod("a")]) == []
    assert len(phantoms([gpu((0, 2))], [pod("a")])) == 1
    assert len(phantoms([gpu()], [pod("a")])) == 1
