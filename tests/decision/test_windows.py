"""One-second buckets average as Knative's do; the numbers follow from the reference algorithm."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hasgpu.decision.windows import LinearWindow, WeightedWindow, int_power, smoothing_coefficient
from hypothesis import given
from hypothesis import strategies as st

T0 = 1_700_000_000.0


def filled(window: LinearWindow, *values: float, start: float = T0) -> LinearWindow:
    for second, value in enumerate(values):
        window.record(start + second, value)
    return window


def test_a_window_never_written_is_empty_and_reads_zero() -> None:
    for window in (LinearWindow(60), WeightedWindow(60)):
        assert window.is_empty(T0)
        assert window.average(T0) == 0.0


def test_reports_of_one_second_add_up_and_seconds_average() -> None:
    window = LinearWindow(120)
    for offset, value in ((0, 1.0), (0.1, 10.0), (1, 1.0), (3, 1.0)):
        window.record(T0 + offset, value)
    assert window.average(T0 + 3) == 13 / 4


def test_a_bucket_may_span_several_seconds() -> None:
    window = LinearWindow(120, granularity_s=5)
    for offset, value in ((0, 1.0), (3, 11.0), (6, 1.0)):
        window.record(T0 + offset, value)
    assert window.average(T0 + 6) == 13 / 2


@pytest.mark.parametrize(
    ("at", "want"),
    [
        pytest.param(4, 15 / 5, id="a full window is the mean of its buckets"),
        pytest.param(3.6, 15 / 5, id="a reader whose clock lags sees the whole window"),
        pytest.param(6, (15 - 1 - 2) / 3, id="seconds without a report shrink the window"),
        pytest.param(10, 0.0, id="after a whole silent window the load is zero"),
    ],
)
def test_linear_average(at: float, want: float) -> None:
    assert filled(LinearWindow(5), 1, 2, 3, 4, 5).average(T0 + at) == want


def test_late_reports_count_inside_the_window_and_not_outside() -> None:
    window = LinearWindow(5)
    window.record(T0, 1984)
    window.record(T0 - 3, 4)
    assert window.average(T0) == (4 + 1984) / 4
    window.record(T0 + 1, 5)
    window.record(T0 - 2, 10)
    assert window.average(T0 + 1) == 400.6
    for too_early in (-5, -4):
        window.record(T0 + too_early, 10)
    assert window.average(T0 + 1) == 400.6


def test_a_gap_of_exactly_the_window_starts_anew() -> None:
    window = filled(LinearWindow(5), 1, 2, 3)
    window.record(T0 + 7, 10)
    assert window.average(T0 + 7) == 10.0


def test_reports_in_falling_order_keep_their_average() -> None:
    window = LinearWindow(5)
    for second in range(8, -1, -1):
        window.record(T0 + second, 5)
    assert window.average(T0 + 5) == 5.0


def test_averages_round_halves_away_from_zero_to_six_decimals() -> None:
    assert filled(LinearWindow(5), 0.0000005).average(T0) == 0.000001
    assert filled(LinearWindow(5), -0.0000005).average(T0) == -0.000001
    assert filled(LinearWindow(5), 0.00000049).average(T0) == 0.0


def test_a_longer_window_keeps_what_the_shorter_one_held() -> None:
    window = filled(LinearWindow(5), 1, 2, 3, 4, 5, 6)
    assert window.average(T0 + 5) == 20 / 5
    window.resize(10, T0 + 5)
    assert window.average(T0 + 5) == 20 / 5
    window.record(T0 + 6, 9)
    assert window.average(T0 + 6) == round(29 / 6, 6)


def test_a_shorter_window_keeps_the_newest() -> None:
    window = filled(LinearWindow(5), 1, 2, 3, 4, 5, 6)
    window.resize(3, T0 + 5)
    assert window.average(T0 + 5) == 15 / 3


def test_resizing_a_silent_window_forgets_it() -> None:
    window = filled(LinearWindow(5), 1, 2, 3)
    window.resize(10, T0 + 60)
    window.record(T0 + 61, 7)
    assert window.average(T0 + 61) == 7.0


@pytest.mark.parametrize(("buckets", "want"), [(100, 0.2), (60, 0.2), (42, 0.2), (40, 0.20567), (6, 0.78456)])
def test_the_newest_bucket_weighs_what_the_window_length_asks(buckets: int, want: float) -> None:
    assert smoothing_coefficient(buckets) == pytest.approx(want, abs=1e-5)


def test_weights_fall_geometrically_from_the_newest_bucket() -> None:
    window = filled(WeightedWindow(5), 2, 3, 4, 5, 6)
    m = smoothing_coefficient(5)
    want = sum(value * m * (1 - m) ** age for age, value in enumerate((6, 5, 4, 3, 2)))
    assert window.average(T0 + 4) == pytest.approx(want, rel=1e-12)


def test_silence_ages_weighted_buckets() -> None:
    window = filled(WeightedWindow(5), 2)
    m = smoothing_coefficient(5)
    assert window.average(T0 + 1) == 2 * m * (1 - m)
    assert window.average(T0 + 5) == 0.0
    assert window.average(T0 + 16) == 0.0


@given(
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 1000)), max_size=60),
    st.integers(1, 90),
    st.integers(0, 60),
)
def test_the_linear_ring_agrees_with_a_plain_list(reports: list[tuple[int, int]], window_s: int, lag: int) -> None:
    window = LinearWindow(window_s)
    now = 0
    kept: dict[int, int] = {}
    first: int | None = None
    for step, value in reports:
        at = max(now + step - 200, 0)
        if kept and at + window_s <= now:
            window.record(T0 + at, value)
            continue
        if first is None or at - now >= window_s:
            kept, first = {}, at
        first = min(first, at)
        now = max(now, at)
        kept[at] = kept.get(at, 0) + value
        window.record(T0 + at, value)
    read_at = now + lag
    total = sum(value for at, value in kept.items() if read_at - window_s < at)
    if first is None or lag >= window_s:
        assert window.average(T0 + read_at) == 0.0
    else:
        divisor = min(now - first + 1, window_s - lag)
        assert window.average(T0 + read_at) == pytest.approx(total / divisor, abs=1e-6)


@given(st.floats(0.01, 0.999), st.integers(0, 600))
def test_whole_powers_are_exact_to_the_last_bits(base: float, exponent: int) -> None:
    want = Fraction(base) ** exponent
    assert math.isclose(int_power(base, exponent), float(want), rel_tol=1e-13, abs_tol=5e-324)


def test_a_report_as_late_as_the_last_write_counts_after_a_resize_in_silence() -> None:
    window = LinearWindow(6)
    window.record(100, 4.0)
    window.resize(12, 110)
    window.record(100, 2.0)
    assert window.average(105) == round(2.0 / 7, 6)
