"""Quantities and durations are read as Kubernetes and Go read them."""

import pytest
from hasgpu.model.quantity import format_bytes, parse_bytes, parse_duration_ns
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("4Gi", 4 << 30),
        ("1.5Gi", 3 << 29),
        ("500M", 500_000_000),
        ("1e3", 1000),
        ("1E3", 1000),
        ("1E", 10**18),
        (".5Ki", 512),
        ("100m", 1),
        ("0", 0),
        ("12", 12),
    ],
)
def test_a_quantity_is_bytes_rounded_up(text: str, expected: int) -> None:
    assert parse_bytes(text) == expected


@pytest.mark.parametrize("text", ["", "Gi", "4 Gi", "4GiB", "4gi", "1_000", "0x10", "4Gi\n", "e3", "--1"])
def test_what_kubernetes_refuses_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a Kubernetes quantity"):
        parse_bytes(text)


@given(st.integers(min_value=0, max_value=1 << 50))
def test_formatted_bytes_read_back_exactly(value: int) -> None:
    assert parse_bytes(format_bytes(value)) == value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("200ms", 200_000_000),
        ("1m30s", 90_000_000_000),
        ("1.5h", 5_400_000_000_000),
        ("0", 0),
        ("-1s", -1_000_000_000),
        ("+2us", 2_000),
        ("3µs", 3_000),
        (".5s", 500_000_000),
        ("1.s", 1_000_000_000),
    ],
)
def test_a_duration_is_nanoseconds(text: str, expected: int) -> None:
    assert parse_duration_ns(text) == expected


@pytest.mark.parametrize("text", ["", "5", "1d", "1 s", "s", "1s ", "1ms2", "-", "1e3s", "9999999999h"])
def test_what_go_refuses_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a duration"):
        parse_duration_ns(text)
