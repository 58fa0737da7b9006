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
    [("1", 1), ("1.", 1), (".5", 0.5), ("-1e3", -1000), ("0x1p-2", 0.25), ("Inf", math.inf), ("-infinity", -math.inf)],
)
def test_numbers(text: str, want: float) -> None:
    assert parse_float(text) == want


@pytest.mark.parametrize("text", ["", " 1", "1_0", "1,5", "0x1", "e3", ".", "1e999", "1\n"])
def test_not_numbers(text: str) -> None:
    with pytest.raises(ValueError, match="not a number"):
        parse_float(text)


def test_truths() -> None:
    assert [parse_bool(text) for text in ("1", "t", "True", "0", "F", "false")] == [
        True,
        True,
        True,
        False,
        False,
        False,
    ]
    with pytest.raises(ValueError, match="neither true nor false: 'yes'"):
        parse_bool("yes")


@pytest.mark.parametrize(("value", "want"), [(4.5, 5), (5.5, 6), (4.49, 4), (-4.5, -5), (0.0, 0)])
def test_halves_go_away_from_zero(value: float, want: int) -> None:
    assert round_half_away(value) == want
