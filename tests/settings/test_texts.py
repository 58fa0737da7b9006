"""Go's grammar for numbers, booleans and durations, as Knative reads ConfigMaps."""

from __future__ import annotations

import math

import pytest
from hasgpu.settings.errors import SettingsError
from hasgpu.settings.texts import Texts, parse_bool, parse_float, parse_int32


@pytest.mark.parametrize(
    ("text", "value"),
    [
        pytest.param("7", 7, id="a digit"),
        pytest.param("+7", 7, id="a plus sign is fine"),
        pytest.param("-2147483648", -(2**31), id="the least"),
        pytest.param("2147483648", None, id="one too many"),
        pytest.param("1_000", None, id="underscores are Python's, not base 10's"),
        pytest.param(" 7", None, id="spaces are not trimmed"),
        pytest.param("٣", None, id="only ASCII digits"),
        pytest.param("7.0", None, id="a float is no integer"),
        pytest.param("", None, id="nothing"),
    ],
)
def test_int32_as_go_reads_it(text: str, value: int | None) -> None:
    if value is None:
        with pytest.raises(ValueError, match="not a 32-bit integer"):
            parse_int32(text)
    else:
        assert parse_int32(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        pytest.param("0.7", 0.7, id="a decimal"),
        pytest.param("7.", 7.0, id="a trailing point"),
        pytest.param(".5", 0.5, id="a leading point"),
        pytest.param("1e3", 1000.0, id="an exponent"),
        pytest.param("0x1p-2", 0.25, id="a hex float needs its exponent"),
        pytest.param("0x1", None, id="a hex float without exponent"),
        pytest.param("+Inf", math.inf, id="infinity in any case"),
        pytest.param("1e999", None, id="out of range"),
        pytest.param("1_0", None, id="underscores"),
        pytest.param("70%", None, id="a percent sign"),
        pytest.param(" 1", None, id="spaces are not trimmed"),
    ],
)
def test_float_as_go_reads_it(text: str, value: float | None) -> None:
    if value is None:
        with pytest.raises(ValueError):
            parse_float(text)
    else:
        assert parse_float(text) == value


def test_nan_is_a_number_to_go() -> None:
    assert math.isnan(parse_float("NaN"))


@pytest.mark.parametrize("text", ["1", "t", "T", "true", "True", "TRUE"])
def test_true_is_written_in_six_ways(text: str) -> None:
    assert parse_bool(text)


@pytest.mark.parametrize("text", ["yes", "on", "tRUE", " true", ""])
def test_nothing_else_is_a_boolean(text: str) -> None:
    with pytest.raises(ValueError, match="not a boolean"):
        parse_bool(text)


def test_an_error_names_config_map_key_and_value() -> None:
    texts = Texts("config-x", {"window": "soon"})
    with pytest.raises(SettingsError) as caught:
        texts.duration_s("window", 1.0)
    assert str(caught.value) == "config-x: window = 'soon': not a duration: 'soon'"


def test_strings_are_trimmed_and_the_example_is_no_key() -> None:
    texts = Texts("config-x", {"_example": "a: b", "name": " x ", "odd": "1"})
    assert texts.text("name", "") == "x"
    assert texts.unknown() == ("odd",)
