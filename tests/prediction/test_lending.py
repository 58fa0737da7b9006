"""What a slice serves in a row that lends: a claim on the whole row's pace."""

from __future__ import annotations

import pytest
from hasgpu.model.capacity import CapacityTable
from hasgpu.prediction.lending import lent_table

TABLE = CapacityTable(
    sm_percents=(10, 20),
    requests_per_s=tuple(tuple(10.0 * line * max(0, quota - 50) / 50 for quota in range(101)) for line in (1, 2)),
    latency_s=tuple(tuple(100.0 / max(quota, 1) * 0.01 for quota in range(101)) for _ in (1, 2)),
)
"""Below half of the time a lone pod can't meet its SLO at all."""


@pytest.mark.parametrize(
    ("quota", "rate"),
    [
        pytest.param(0, 0.0, id="a parked pod serves nothing"),
        pytest.param(5, 2.5, id="the least slice is a claim, though alone it would be late"),
        pytest.param(10, 5.0, id="half of what is given away serves half"),
        pytest.param(20, 10.0, id="all that is given away serves what a lone pod with all the time does"),
        pytest.param(60, 10.0, id="more serves no more"),
    ],
)
def test_a_quota_is_a_claim(quota: int, rate: float) -> None:
    lent = lent_table(TABLE, 20)
    assert lent.rate(10, quota) == pytest.approx(rate)
    assert lent.rate(20, quota) == pytest.approx(2 * rate)


def test_claims_of_a_full_row_are_what_one_pod_with_all_the_time_serves() -> None:
    lent = lent_table(TABLE, 30)
    assert sum(lent.rate(10, quota) for quota in (5, 10, 15)) == pytest.approx(TABLE.rate(10, 100))


def test_whoever_has_a_slice_runs_at_full_pace() -> None:
    lent = lent_table(TABLE, 20)
    assert lent.latency(10, 5) == pytest.approx(TABLE.latency(10, 100))
    assert lent.shared_requests_per_s == ()
