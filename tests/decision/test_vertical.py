"""One number per revision, and writes in an order that never over-commits."""

from __future__ import annotations

import pytest
from hasgpu.decision.ledger import Ledger
from hasgpu.decision.vertical import SKEW, least_alpha, order_changes, rate_at, shares_of, strongest_rate_at
from hasgpu.model.gpu import Placement
from hasgpu.model.units import QuotaBounds
from hypothesis import given
from hypothesis import strategies as st

from tests.decision.world import OTHER, PRODUCT, REVISION, bounds, gpu, pod, table

TABLES = {PRODUCT: table(40.0)}
"""20 % of the SMs carry 0.08 requests/s for each percent of quota."""


def alpha(demand: float, *placements: Placement, limits: QuotaBounds | None = None, cap: int = 100) -> int:
    mine = [placement for placement in placements if placement.revision == REVISION]
    shares = shares_of(Ledger([gpu()], placements), REVISION, mine, TABLES)
    return least_alpha(shares, limits or bounds(), demand, cap)


@pytest.mark.parametrize(
    ("demand", "expected"),
    [
        pytest.param(0.0, 5, id="without load the lower bound"),
        pytest.param(4.0, 50, id="the least that carries the demand"),
        pytest.param(4.01, 51, id="rounded up to whole percent"),
        pytest.param(9.0, 100, id="the upper bound where even that is too little"),
    ],
)
def test_alpha_is_the_least_that_carries_the_demand(demand: float, expected: int) -> None:
    assert alpha(demand, pod()) == expected


@pytest.mark.parametrize(
    ("limits", "cap", "demand", "expected"),
    [
        pytest.param(bounds(10, 60), 100, 0.0, 10, id="not below the user's lower bound"),
        pytest.param(bounds(10, 60), 100, 9.0, 60, id="not above the user's upper bound"),
        pytest.param(bounds(5, 100), 30, 9.0, 30, id="not above the cap while it yields"),
        pytest.param(bounds(0, 100), 100, 0.0, 0, id="parked where the user allows 0 and nothing comes"),
        pytest.param(bounds(0, 100), 100, 0.1, 5, id="awake from the first request"),
    ],
)
def test_alpha_keeps_the_bounds(limits: QuotaBounds, cap: int, demand: float, expected: int) -> None:
    assert alpha(demand, pod(), limits=limits, cap=cap) == expected


def test_a_pod_that_starts_is_not_parked() -> None:
    """A model that is loaded with the GPU would wait at a closed gate for ever."""
    ready, starting = pod("ready", row=0), pod("starting", row=1, ready=False)
    shares = shares_of(Ledger([gpu()], [ready, starting]), REVISION, [ready, starting], TABLES)
    assert [share.quota(0) for share in shares] == [0, 5]


def test_a_pod_in_a_crowded_row_gets_what_is_free_and_its_sibling_makes_up_for_it() -> None:
    crowded = pod("crowded", row=0)
    free = pod("free", row=1)
    other = pod("other", revision=OTHER, row=0, quota=40)
    shares = shares_of(Ledger([gpu()], [crowded, free, other]), REVISION, [crowded, free], TABLES)
    found = least_alpha(shares, bounds(), 11.2)
    assert [share.quota(found) for share in shares] == [60, 80]


def test_pods_carry_no_more_than_the_balancer_lets_the_weakest_carry() -> None:
    """It gives both about the same, so a strong pod can't make up for a sibling of a tenth of its time."""
    weak, strong = pod("weak", row=0), pod("strong", row=1)
    other = pod("other", revision=OTHER, row=0, quota=90)
    shares = shares_of(Ledger([gpu()], [weak, strong, other]), REVISION, [weak, strong], TABLES)
    alone = shares[0].rate(100, shared=True)
    assert rate_at(shares, 100) == pytest.approx(SKEW * 2 * alone)
    assert strongest_rate_at(shares, 100) == (pytest.approx(10 * alone), 1)


def test_siblings_of_one_row_share_it_equally() -> None:
    pods = [pod(f"p{i}", quota=10) for i in range(3)]
    shares = shares_of(Ledger([gpu()], pods), REVISION, pods, TABLES)
    assert [share.free_percent for share in shares] == [33, 33, 33]


def test_a_raise_waits_for_the_acknowledged_shrink_of_its_neighbour() -> None:
    raised = pod(quota=20)
    shrinking = pod("other", revision=OTHER, quota=30, applied=70)
    ledger = Ledger([gpu()], [raised, shrinking])
    shares = shares_of(Ledger([gpu()], [raised, pod("other", revision=OTHER, quota=30)]), REVISION, [raised], TABLES)
    changes = order_changes(ledger, shares, 60)
    assert [change.new.time_quota.percent for change in changes.now] == [30]
    assert [change.new.time_quota.percent for change in changes.later] == [60]


def test_a_shrink_is_written_at_once_and_counts_until_acknowledged() -> None:
    shrunk = pod(quota=60)
    ledger = Ledger([gpu()], [shrunk])
    changes = order_changes(ledger, shares_of(ledger, REVISION, [shrunk], TABLES), 20)
    assert [change.new.time_quota.percent for change in changes.now] == [20]
    assert changes.now[0].new.generation == shrunk.slice.generation + 1
    assert ledger.growth(pod("other")) == 20 + 40


def test_no_change_writes_nothing() -> None:
    held = pod(quota=50)
    ledger = Ledger([gpu()], [held])
    changes = order_changes(ledger, shares_of(ledger, REVISION, [held], TABLES), 50)
    assert (changes.now, changes.later) == ((), ())


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(5, 30), st.integers(5, 30), st.booleans()), max_size=8),
    st.integers(5, 100),
)
def test_whatever_was_acknowledged_the_writes_of_one_pass_keep_every_row_whole(
    rows: list[tuple[int, int, int, bool]], wanted: int
) -> None:
    pods = [
        pod(f"p{i}", revision=REVISION if mine else OTHER, row=row, quota=quota, applied=applied)
        for i, (row, quota, applied, mine) in enumerate(rows)
    ]
    ledger = Ledger([gpu()], pods)
    before = len(ledger.over_committed())
    mine = [each for each in pods if each.revision == REVISION]
    order_changes(ledger, shares_of(ledger, REVISION, mine, TABLES), wanted)
    assert len(ledger.over_committed()) <= before


@given(st.lists(st.integers(5, 100), min_size=1, max_size=5), st.floats(0.0, 60.0))
def test_the_alpha_found_carries_the_demand_and_one_less_does_not(quotas: list[int], demand: float) -> None:
    pods = [pod(f"p{i}", row=i, sm=20, quota=quota) for i, quota in enumerate(quotas)]
    shares = shares_of(Ledger([gpu()], pods), REVISION, pods, TABLES)
    found = least_alpha(shares, bounds(), demand)
    assert rate_at(shares, found) >= demand or found == 100
    assert found == 5 or rate_at(shares, found - 1) < demand
