"""Annotation values mean what Knative's own components take them for."""

from __future__ import annotations

import math

import pytest
from hasgpu.model.go_values import parse_bool, parse_float, parse_int32, round_half_away


@pytest.mark.parametrize(("text", "want"), [("0", 0), ("+7", 7), ("-3", -3), ("007", 7), ("2147483647", 2**31 - 1)])
def test_whole_numbers(text: str, want: int) -> None:
    assert parse_int32(text) == want


@pytest.mark.parametrize("text", ["", " 1", "1 ", "1_000", "1.0", "0x1", "2147483648", "٣", "1\n"])
def test_not_whole_numbers(text: str) -> None:
    with pytest.raises(ValueError, match="not a whole number"):
        parse_int32(text)


@pytest.mark.parametrize(
    ("text", "want"),
    [
        *(("1", 1), ("1.", 1), (".5", 0.5), ("-1e3", -1000), ("1e-400", 0.0)),
        *(("1_000.5", 1000.5), ("1e1_0", 1e10), ("0x_1p4", 16), ("0x1_0p4", 256)),
        *(("0x1p-2", 0.25), ("0x.8p1", 1), ("Inf", math.inf), ("-infinity", -math.inf)),
    ],
)
def test_numbers(text: str, want: float) -> None:
    assert parse_float(text) == want


@pytest.mark.parametrize(
    "text",
    ["", " 1", "1__0", "_1", "1_", "1_e5", "1._5", "1,5", "0x1", "e3", ".", "1e999", "0x1p2000", "+nan", "70%", "1\n"],
)
def test_not_numbers(text: str) -> None:
    with pytest.raises(ValueError, match="not a number"):
        parse_float(text)


def test_nan_is_a_number_to_go() -> None:
    assert math.isnan(parse_float("NaN"))


def test_truths_are_written_in_six_ways_each() -> None:
    assert all(parse_bool(text) for text in ("1", "t", "T", "true", "True", "TRUE"))
    assert not any(parse_bool(text) for text in ("0", "f", "F", "false", "False", "FALSE"))


@pytest.mark.parametrize("text", ["yes", "on", "tRUE", " true", ""])
def test_nothing_else_is_a_truth(text: str) -> None:
    with pytest.raises(ValueError, match="neither true nor false"):
        parse_bool(text)


@pytest.mark.parametrize(("value", "want"), [(4.5, 5), (5.5, 6), (4.49, 4), (-4.5, -5), (0.0, 0)])
def test_halves_go_away_from_zero(value: float, want: int) -> None:
    assert round_half_away(value) == want
