"""Another SM share: only once the present one has cost as much as the change would."""

from __future__ import annotations

import math

import pytest
from hasgpu.decision.ledger import Ledger
from hasgpu.decision.policy import Policy
from hasgpu.decision.shape import (
    LOOK_S,
    MOST_PODS,
    Regret,
    best_cost_percent,
    cheaper_pods,
    first_look_s,
    worth_a_change,
)
from hasgpu.model.keys import RevisionKey
from hasgpu.model.units import MIN_TIME_QUOTA_PERCENT
from hypothesis import given
from hypothesis import strategies as st

from tests.decision.world import REVISION, bounds, gpu, pod, table, wish


def test_the_best_shape_of_a_proportional_table_costs_its_part_of_the_gpu() -> None:
    assert best_cost_percent(table(40.0), bounds(), 20.0) == pytest.approx(50.0, rel=0.02)


def test_where_no_shape_carries_the_demand_none_is_better() -> None:
    assert best_cost_percent(table(1.0), bounds(), 100.0) == float("inf")


@given(st.lists(st.floats(-50.0, 50.0), max_size=50))
def test_regret_is_never_negative_and_silence_adds_at_most_two_looks(excesses: list[float]) -> None:
    regret, now = Regret(), 0.0
    for excess in excesses:
        before = regret.percent_s
        regret = regret.grown(excess, now)
        assert 0.0 <= regret.percent_s <= before + max(0.0, excess) * 10.0
        now += 1000.0


def test_a_thousand_revisions_of_similar_names_look_at_as_many_in_each_second() -> None:
    begun_s = [first_look_s(RevisionKey("ns", f"svc-{number:03d}-00001"), 100.0) for number in range(1000)]
    a_second = [sum(100.0 - second - 1.0 < at <= 100.0 - second for at in begun_s) for second in range(int(LOOK_S))]
    assert sum(a_second) == 1000
    assert all(150 < count < 250 for count in a_second), a_second


def test_a_change_waits_until_its_own_cost_was_lost() -> None:
    policy = Policy(startup_s=10.0)
    # 20 % for 10 s while the new pod starts, 50 % for 30 s while the old one drains.
    assert not worth_a_change(Regret(percent_s=1699.0), 50.0, 20.0, policy)
    assert worth_a_change(Regret(percent_s=1700.0), 50.0, 20.0, policy)


@given(st.floats(0.01, 200.0), st.integers(0, 60), st.integers(60, 100), st.floats(1.0, 60.0))
def test_the_best_shape_is_the_cheapest_of_all(rate: float, low: int, high: int, whole_gpu: float) -> None:
    """Looked for without looking at those that cost more than what was found."""
    found, low = table(whole_gpu), 0 if low < MIN_TIME_QUOTA_PERCENT else low
    costs = [
        sm * quota * pods / 100.0
        for sm in found.sm_percents
        for pods in range(1, MOST_PODS + 1)
        for quota in range(max(low, MIN_TIME_QUOTA_PERCENT), high + 1)
        if found.rate(sm, quota, shared=pods > 1) >= rate / pods
    ]
    assert best_cost_percent(found, bounds(low, high), rate) == min(costs, default=math.inf)


def test_a_shape_of_more_pods_than_are_allowed_or_fewer_than_are_kept_is_not_the_best() -> None:
    found, quota = table(40.0), bounds(5, 20)
    # 20 % of time: 8 requests/s are the whole GPU's.
    assert best_cost_percent(found, quota, 12.0, most=1) == float("inf")
    assert best_cost_percent(found, quota, 12.0) == pytest.approx(30.0, rel=0.02)
    assert best_cost_percent(found, quota, 0.1) < best_cost_percent(found, quota, 0.1, least=3)


@pytest.mark.parametrize(
    ("now_percent", "cheaper"),
    [
        pytest.param(10.0, True, id="pods that cost a tenth more than others are replaced"),
        pytest.param(2.6, False, id="pods are not replaced by their like"),
    ],
)
def test_only_cheaper_pods_come_in_the_place_of_others(now_percent: float, cheaper: bool) -> None:
    """One request/s is 2.5 % of a proportional GPU; the table has steps."""
    ledger = Ledger([gpu()], [pod(sm=50, quota=20)])
    out = cheaper_pods(ledger, REVISION, wish(), 1.0, (1, 3), now_percent, Policy())
    assert (out is not None) == cheaper
    assert len(list(ledger.books("gpu-a").placements())) == 1 + (len(out.plans) if out is not None else 0)


def test_where_min_scale_asks_for_several_pods_the_cheaper_ones_are_as_many() -> None:
    out = cheaper_pods(Ledger([gpu()], []), REVISION, wish(), 1.0, (3, 6), 50.0, Policy())
    assert out is not None
    assert len(out.plans) == 3


def test_without_room_for_the_best_shape_nothing_is_replaced_and_nothing_taken() -> None:
    ledger = Ledger([gpu()], [pod(sm=100, quota=98)])
    assert cheaper_pods(ledger, REVISION, wish(), 20.0, (1, 8), 98.0, Policy()) is None
    assert len(list(ledger.books("gpu-a").placements())) == 1
