"""The rate that rivals scale by: the requests of the last window and no more, whenever it is read."""

from __future__ import annotations

import pytest
from hasgpu.simulator.policies.trailing_rate import TrailingRate


@pytest.mark.parametrize(("scrape_s", "phase_s"), [(1.0, 0.0), (5.0, 0.0), (5.0, 3.0)])
@pytest.mark.parametrize("now", [40.0, 41.0, 42.0, 43.5])
def test_a_steady_rate_is_read_as_it_is(scrape_s: float, phase_s: float, now: float) -> None:
    rate = TrailingRate(10.0, scrape_s, phase_s)
    for second in range(1, int(now) + 1):
        if second + 0.01 <= now:
            rate.count(second + 0.01, 15.0)
    assert rate.per_s(now) == pytest.approx(15.0)


def test_before_the_window_has_filled_the_span_there_is_counts() -> None:
    rate = TrailingRate(10.0, 1.0)
    for second in (1, 2, 3):
        rate.count(second + 0.01, 6.0)
    assert rate.per_s(4.0) == pytest.approx(4.5)
