"""The evaluation's runner: everything once, in the order asked for, and nothing again that was kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from e2e.evaluation.runner import Runner


def double(number: int) -> int:
    if number < 0:
        raise ValueError(number)
    return 2 * number


def test_results_come_in_the_order_asked_for_and_twins_are_worked_on_once(tmp_path: Path) -> None:
    with Runner(2, tmp_path / "kept") as runner:
        assert runner.map(double, [3, 1, 3, 2]) == [6, 2, 6, 4]
        assert (runner.worked, runner.kept) == (3, 1)


def test_a_run_that_was_ended_is_gone_on_with(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="-1"), Runner(1, tmp_path / "kept") as runner:
        runner.map(double, [1, 2, -1])
    with Runner(1, tmp_path / "kept") as runner:
        assert runner.map(double, [1, 2, 3]) == [2, 4, 6]
        assert runner.kept == 2


def test_what_is_forgotten_is_worked_on_again(tmp_path: Path) -> None:
    for _ in range(2):
        with Runner(1, tmp_path / "kept") as runner:
            assert runner.map(double, [1]) == [2]
            assert runner.worked == 1
            runner.forget()
