"""The delay window remembers the largest value of its span."""

from __future__ import annotations

import pytest
from hasgpu.decision.delay_window import DelayWindow
from hypothesis import given
from hypothesis import strategies as st

T0 = 1_700_000_000.0


@pytest.mark.parametrize(
    ("records", "want"),
    [
        pytest.param([(0, 5)], 5, id="one value"),
        pytest.param([(0, 6), (0.5, 5)], 6, id="of two values in one interval the larger counts"),
        pytest.param([(0, 5), (1, 8)], 8, id="a larger value takes over at once"),
        pytest.param([(0, 5), (6, 4)], 4, id="a value leaves with its interval"),
        pytest.param([(0, 5), (2, 4), (5, 1)], 4, id="the next largest follows"),
    ],
)
def test_current(records: list[tuple[float, int]], want: int) -> None:
    window = DelayWindow(5, 1)
    for offset, value in records:
        window.record(T0 + offset, value)
    assert window.current() == want


@given(
    st.lists(st.tuples(st.integers(0, 12), st.integers(0, 50)), min_size=1, max_size=80),
    st.integers(1, 60),
)
def test_it_is_the_maximum_of_the_intervals_in_the_window(steps: list[tuple[int, int]], duration_s: int) -> None:
    window, now, seen = DelayWindow(duration_s, 2), T0, []
    for step_s, value in steps:
        now += step_s
        seen.append((now, value))
        window.record(now, value)
        slots = -(-duration_s // 2)
        assert window.current() == max(v for at, v in seen if now // 2 - at // 2 < slots)
