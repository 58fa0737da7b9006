"""The decision of class has: vertical first, then horizontal, and reasons for both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hasgpu.decision.hybrid import HybridState, RevisionView, decide
from hasgpu.decision.ledger import Ledger
from hasgpu.decision.policy import Policy
from hasgpu.model.decision import Decision
from hasgpu.model.gpu import Gpu
from hasgpu.model.units import SmPartition
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.decision.world import GIB, bounds, gpu, load, pod, view, wish

POLICY = Policy(startup_s=8.0, patience=3.0, hold_s=6.0)


def decided(
    seen: RevisionView, *, state: HybridState | None = None, now: float = 100.0, gpus: Sequence[Gpu] = (gpu(),)
) -> tuple[Decision, HybridState]:
    ledger = Ledger(gpus, seen.placements)
    return decide(seen, ledger, state or HybridState(), POLICY, now)


def facts(decision: Decision) -> list[str]:
    return [each.fact for each in decision.reasons]


def quotas(decision: Decision) -> list[int]:
    return [change.new.time_quota.percent for change in decision.quota_changes]


def test_more_load_raises_the_quota_and_adds_no_pod() -> None:
    decision, _ = decided(view(pod(quota=20), load=load(6.0)))
    assert quotas(decision) == [75]
    assert decision.desired_pods == 1


def test_what_the_quota_cannot_carry_becomes_pods() -> None:
    decision, _ = decided(view(pod(quota=20), load=load(12.0)))
    assert quotas(decision) == [100]
    assert decision.desired_pods == 2
    assert len(decision.plans) == 1
    assert "scale-out" in facts(decision)


def test_a_pod_that_was_promised_is_not_asked_for_twice() -> None:
    first, _ = decided(view(pod(quota=20), load=load(12.0)))
    second, _ = decided(view(pod(quota=20), load=load(12.0), plans=first.plans))
    assert second.desired_pods == 2
    assert second.plans == ()


def test_a_waiting_pod_takes_the_plan_before_a_new_pod_is_made() -> None:
    decision, _ = decided(view(pod(quota=20), load=load(12.0), replicas=2))
    assert decision.desired_pods == 2
    assert len(decision.plans) == 1


def test_max_scale_is_kept_and_told() -> None:
    decision, _ = decided(view(pod(quota=20), load=load(12.0), most=1))
    assert decision.desired_pods == 1
    assert "max-scale" in facts(decision)


def test_no_room_for_another_pod_is_told_and_makes_none() -> None:
    full = view(pod(sm=20, quota=20), load=load(12.0), wish=wish(memory_bytes=16 * GIB))
    decision, _ = decided(full)
    assert decision.desired_pods == 1
    assert {"no-room", "memory-full"} <= set(facts(decision))


def test_a_pod_that_starts_counts_for_pods_but_not_for_the_quota_now() -> None:
    starting = pod("starting", row=1, ready=False)
    decision, _ = decided(view(pod(quota=20), starting, load=load(7.0)))
    assert quotas(decision) == [88, 88]
    assert decision.desired_pods == 2


def test_in_flight_beyond_the_forecast_is_drained() -> None:
    decision, _ = decided(view(pod(quota=20), load=load(1.0, in_flight=5.0)))
    assert "panic" in facts(decision)
    assert quotas(decision) == [60]


def test_unknown_load_decides_nothing() -> None:
    decision, _ = decided(view(pod(quota=70), load=replace(load(), known=False)))
    assert (decision.desired_pods, decision.quota_changes, facts(decision)) == (None, (), ["load-unknown"])


def test_the_quota_falls_only_when_the_largest_demand_of_the_last_seconds_did() -> None:
    _, state = decided(view(pod(quota=75), load=load(6.0)), now=100.0)
    soon, state = decided(view(pod(quota=75), load=load(2.0)), state=state, now=103.0)
    later, _ = decided(view(pod(quota=75), load=load(2.0)), state=state, now=107.0)
    assert quotas(soon) == []
    assert quotas(later) == [25]


def test_shrinks_keep_their_distance_and_raises_do_not() -> None:
    shrink, _ = decided(view(pod(quota=75), load=load(2.0), quiet_until_s=101.0))
    growth, _ = decided(view(pod(quota=5), load=load(2.0), quiet_until_s=101.0))
    assert quotas(shrink) == []
    assert quotas(growth) == [25]


def test_a_superfluous_pod_leaves_only_after_its_patience() -> None:
    seen = view(pod(), pod("second", row=1), load=load(1.0))
    now, state = decided(seen, now=100.0)
    soon, state = decided(seen, state=state, now=110.0)
    late, _ = decided(seen, state=state, now=125.0)
    assert (now.desired_pods, soon.desired_pods, late.desired_pods) == (2, 2, 1)
    assert len(late.victims) == 1


def test_load_that_comes_back_keeps_the_pod() -> None:
    quiet = view(pod(), pod("second", row=1), load=load(1.0))
    _, state = decided(quiet, now=100.0)
    _, state = decided(replace(quiet, load=load(14.0)), state=state, now=115.0)
    late, _ = decided(quiet, state=state, now=126.0)
    assert late.desired_pods == 2


def test_a_pod_that_is_not_ready_leaves_first() -> None:
    seen = view(pod(), pod("starting", row=1, ready=False), load=load(1.0))
    _, state = decided(seen, now=100.0)
    late, _ = decided(seen, state=state, now=125.0)
    assert [victim.name for victim in late.victims] == ["starting"]


def test_an_idle_revision_goes_to_zero() -> None:
    decision, _ = decided(view(pod(), load=load(0.0, idle_s=61.0)))
    assert decision.desired_pods == 0
    assert "idle" in facts(decision)


def test_an_idle_revision_keeps_its_min_scale() -> None:
    decision, _ = decided(view(pod(), load=load(0.0, idle_s=61.0), least=1))
    assert decision.desired_pods == 1


def test_the_first_request_wakes_one_pod_with_a_slice_for_the_load() -> None:
    decision, _ = decided(view(load=load(0.0, in_flight=1.0)))
    assert decision.desired_pods == 1
    assert len(decision.plans) == 1


def test_a_wake_up_without_room_asks_for_a_pod_all_the_same() -> None:
    decision, _ = decided(view(load=load(3.0), wish=wish(gpu_product="H100")))
    assert (decision.desired_pods, decision.plans) == (1, ())
    assert "no-room" in facts(decision)


def test_a_forecast_alone_wakes_nobody() -> None:
    decision, _ = decided(view(load=replace(load(5.0), active=False)))
    assert decision.desired_pods == 0


def test_a_season_that_begins_within_a_start_up_wakes_from_zero_with_pods_for_it() -> None:
    silent = replace(load(0.0), active=False, idle_s=5000.0)
    decision, _ = decided(view(load=replace(silent, season_requests_per_s=5.0)))
    assert decision.desired_pods == 1
    assert len(decision.plans) == 1
    assert {"season", "prewarms"} <= set(facts(decision))
    assert decided(view(load=replace(silent, season_requests_per_s=0.001)))[0].desired_pods == 0


def test_a_pod_that_waits_for_its_season_is_not_idle() -> None:
    awaited = replace(load(0.0), active=False, idle_s=5000.0, season_requests_per_s=1.0)
    decision, _ = decided(view(pod(quota=20), load=awaited))
    assert decision.desired_pods == 1


def test_without_a_profile_a_wake_up_plans_nothing() -> None:
    decision, _ = decided(view(load=load(3.0), wish=wish(tables={})))
    assert (decision.desired_pods, decision.plans) == (1, ())
    assert "no-profile" in facts(decision)


def test_without_a_profile_the_quota_is_the_upper_bound_and_the_pods_stay() -> None:
    decision, _ = decided(view(pod(quota=20), load=load(50.0), wish=wish(tables={}, quota=bounds(5, 80))))
    assert quotas(decision) == [80]
    assert decision.desired_pods == 1
    assert "no-profile" in facts(decision)


def test_a_predecessor_that_yields_goes_to_its_cap() -> None:
    decision, _ = decided(view(pod(quota=80), load=load(6.0), cap_percent=10))
    assert quotas(decision) == [10]
    assert "yields" in facts(decision)


def test_steady_load_reaches_a_steady_state() -> None:
    seen, state, now = view(pod(quota=20), load=load(5.0)), HybridState(), 100.0
    for _ in range(5):
        decision, state = decided(seen, state=state, now=now)
        placed = tuple(
            replace(held, slice=change.new, applied_generation=change.new.generation)
            for held, change in zip(seen.placements, decision.quota_changes, strict=False)
        )
        seen, now = replace(seen, placements=placed or seen.placements), now + 1.0
    assert decision.quota_changes == ()
    assert decision.desired_pods == 1


rates = st.floats(0.0, 60.0)


@settings(max_examples=60)
@given(rates, rates, st.integers(5, 100), st.integers(0, 3), st.sampled_from([0, 1, 4]))
def test_more_demand_never_means_less_quota_or_fewer_of_the_pods_there_are(
    a: float, b: float, quota: int, pods: int, most: int
) -> None:
    placed = tuple(pod(f"p{i}", row=i, sm=20, quota=quota) for i in range(pods))
    less, _ = decided(view(*placed, load=load(min(a, b)), most=most))
    more, _ = decided(view(*placed, load=load(max(a, b)), most=most))
    # New pods may be fewer and wider for more demand.
    assert (more.desired_pods or 0) >= min(less.desired_pods or 0, max(pods, 1))
    assert (more.quota_percent or 0) >= (less.quota_percent or 0)


@settings(max_examples=60)
@given(rates, st.integers(0, 6), st.integers(1, 5), st.sampled_from([None, SmPartition(20)]))
def test_bounds_are_kept_and_nothing_is_promised_twice(
    demand: float, pods: int, most: int, sm: SmPartition | None
) -> None:
    placed = tuple(pod(f"p{i}", row=i % 5, sm=20, quota=20) for i in range(pods))
    ledger = Ledger([gpu()], placed)
    seen = view(*placed, load=load(demand), most=most, wish=wish(sm_partition=sm))
    decision, _ = decide(seen, ledger, HybridState(), POLICY, 100.0)
    assert ledger.over_committed() == ()
    assert decision.desired_pods is not None
    assert decision.desired_pods <= max(most, pods, 1)


def test_pods_of_a_dear_shape_are_replaced_once_they_have_cost_enough_and_not_before() -> None:
    """Half the GPU at its least quota for a load that a sixth of the cost would carry."""
    seen = view(pod(sm=50, quota=5), load=load(0.5))
    state, now = HybridState(), 100.0
    asked: list[float] = []
    for _ in range(120):
        decision, state = decided(seen, state=state, now=now)
        if "reshape" in facts(decision):
            asked.append(now - 100.0)
            assert decision.plans
            assert all(plan.sm_partition.percent < 50 for plan in decision.plans)
            break
        now += 1.0
    assert asked
    assert asked[0] > 20.0


def test_a_share_that_the_user_chose_is_never_replaced() -> None:
    chosen = wish(sm_partition=SmPartition(50))
    seen = view(pod(sm=50, quota=5), load=load(0.5), wish=chosen)
    state = HybridState()
    for second in range(600):
        decision, state = decided(seen, state=state, now=100.0 + second)
        assert decision.plans == ()
        assert decision.desired_pods == 1


def test_a_backlog_that_grows_while_pods_start_does_not_ask_for_ever_more_of_them() -> None:
    """Pods drain it in the time they take to start; quotas, which help at once, in a second."""
    crowd = replace(load(12.0), in_flight=100.0)
    decision, _ = decided(view(pod(sm=20, quota=20), load=crowd))
    assert decision.demand_requests_per_s is not None
    assert decision.demand_requests_per_s > 90.0
    assert decision.desired_pods is not None
    assert decision.desired_pods <= 5


def test_a_pod_of_another_share_that_never_serves_is_given_up_and_not_asked_for_again_soon() -> None:
    state, old = HybridState(reshaping_since_s=100.0), pod("old", sm=50, quota=50)
    new = pod("new", sm=20, quota=40, row=1, ready=False)
    seen = view(old, new, load=load(1.0), replicas=2)
    wanted = []
    for second in range(1000):
        decision, state = decided(seen, state=state, now=100.0 + second)
        wanted.append(decision.desired_pods)
    assert wanted[int(POLICY.move_most_s) - 1] == 2
    assert wanted[-1] == 1
    assert state.regret.looked_s is not None
    assert state.regret.looked_s > 100.0 + POLICY.move_most_s + POLICY.in_vain_s - 1.0


@pytest.mark.parametrize(
    ("slo_latency_s", "parks"),
    [
        pytest.param(0.2, True, id="who can wake in time gives all its time away"),
        pytest.param(0.06, False, id="whose first request would be late whatever is done keeps some"),
    ],
)
def test_a_pod_without_requests_is_parked_where_its_slo_leaves_time_to_wake(
    slo_latency_s: float, *, parks: bool
) -> None:
    seen = view(pod(quota=30), wish=wish(quota=bounds(0, 100)), load=load(0.0), slo_latency_s=slo_latency_s)
    (quota,) = quotas(decided(seen)[0])
    assert (quota == 0) is parks


def test_weak_pods_that_only_together_leave_a_strong_one_free_leave_together() -> None:
    """A ramp left the small pods of its beginning beside each larger one; the activator gives all of them as much."""
    pods = [pod("a", sm=5, quota=90), pod("b", sm=5, quota=90, row=1), pod("c", sm=60, quota=90, row=2)]
    seen, state = view(*pods, load=load(20.0)), HybridState()
    for second in range(60):
        decision, state = decided(seen, state=state, now=100.0 + second)
        if decision.desired_pods < len(pods):
            break
    assert {victim.name for victim in decision.victims} == {"a", "b"}
    assert decision.desired_pods == 1
