"""The board: columns come, go and grow, and what is read is what one function alone would be told."""

from __future__ import annotations

import numpy as np
import pytest
from hasgpu.prediction.forecast import Levels, Slots
from hasgpu.prediction.forecast_board import ForecastBoard, Horizon
from hypothesis import given, settings
from hypothesis import strategies as st

NEAR, FAR = Horizon(span_s=5.0, quantile=0.95), Horizon(span_s=20.0, quantile=0.7)


def told(board: ForecastBoard, column: int) -> tuple[float, float]:
    return board.cautious(column, 0), board.cautious(column, 1)


def fed(board: ForecastBoard, columns: list[int], seconds: range, seed: int = 1) -> None:
    """Each column the Poisson counts of its place."""
    for second in seconds:
        for place, column in enumerate(columns):
            count = float(np.random.default_rng([seed, place, second]).poisson(4.0 * (place + 1)))
            board.note(column, count, count, 1.0, float(second))
        board.settle()


def test_nothing_is_known_before_something_is_noted() -> None:
    board = ForecastBoard(NEAR)
    column = board.add()
    assert not board.knows(column)
    board.note(column, 3.0, 3.0, 1.0, 0.0)
    assert board.knows(column)
    board.settle()
    assert board.knows(column)


class Alone:
    """One function, as the forecast reads: a report after another."""

    def __init__(self) -> None:
        self.levels: Levels | None = None
        self.slots = [Slots.first(1, span_s=each.span_s, quantile=each.quantile) for each in (NEAR, FAR)]
        self.at_s = 0.0

    def report(self, rate: float, exposure_s: float, now: float) -> None:
        one = np.ones(1, dtype=np.float32)
        if self.levels is None:
            self.levels, exposure_s = Levels.first(one * np.float32(rate)), 0.0
        else:
            elapsed_s = np.float32(now - self.at_s)
            self.levels.observe(one * np.float32(rate), one * np.float32(exposure_s), one * elapsed_s)
        for slots in self.slots:
            slots.count(np.array([[rate * exposure_s], [exposure_s]], dtype=np.float32))
            if slots.ended.all():
                slots.begin(self.levels)
        self.at_s = now

    @property
    def told(self) -> tuple[float, ...]:
        assert self.levels is not None
        return tuple(float(slots.cautious(self.levels)[0]) for slots in self.slots)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), part=st.sampled_from([0.03, 0.2, 0.6, 1.0]), many=st.integers(1, 40))
def test_many_together_are_told_what_each_would_be_alone(seed: int, part: float, many: int) -> None:
    chance, board = np.random.default_rng(seed), ForecastBoard(NEAR, FAR)
    columns, alone = [board.add() for _ in range(many)], [Alone() for _ in range(many)]
    for second in range(60):
        rates = chance.poisson(np.where(second % 20 > 15, 60.0, 6.0), many)
        for place in np.flatnonzero(chance.random(many) < part):
            rate, exposure_s = float(rates[place]), float(chance.choice([1.0, 0.5]))
            board.note(columns[place], rate, rate * exposure_s, exposure_s, float(second))
            alone[place].report(rate, exposure_s, float(second))
        board.settle()
    for column, one in zip(columns, alone, strict=True):
        assert board.knows(column) == (one.levels is not None)
        if one.levels is not None:
            assert told(board, column) == pytest.approx(one.told, rel=1e-4)


def test_word_of_one_leaves_the_others_as_they_are() -> None:
    board = ForecastBoard(NEAR)
    columns = [board.add() for _ in range(40)]
    fed(board, columns, range(10))
    before = [board.cautious(column, 0) for column in columns]
    board.note(columns[7], 500.0, 500.0, 1.0, 10.0)
    after = [board.cautious(column, 0) for column in columns]
    assert after[7] > before[7]
    assert after[:7] + after[8:] == pytest.approx(before[:7] + before[8:])


def test_a_successor_begins_where_its_predecessor_is() -> None:
    board = ForecastBoard(NEAR)
    old = board.add()
    fed(board, [old], range(30))
    new = board.add()
    board.follow(new, old)
    assert board.cautious(new, 0) == board.cautious(old, 0)


def test_a_column_that_was_dropped_is_empty_when_it_is_given_out_again() -> None:
    board = ForecastBoard(NEAR)
    columns = [board.add() for _ in range(16)]
    fed(board, columns, range(30))
    board.note(columns[3], 9.0, 9.0, 1.0, 30.0)
    board.drop(columns[3])
    again = board.add()
    assert again == columns[3]
    assert not board.knows(again)


def test_other_quantiles_keep_the_level() -> None:
    board = ForecastBoard(NEAR)
    column = board.add()
    fed(board, [column], range(200))
    before = board.cautious(column, 0)
    board.aim(Horizon(span_s=5.0, quantile=0.5))
    assert 2.0 < board.cautious(column, 0) < before
