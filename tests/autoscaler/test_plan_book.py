"""Promised slices: kept for a while, given to the next pod, never promised twice."""

from __future__ import annotations

from hasgpu.autoscaler.plan_book import PLAN_S, PlanBook
from hasgpu.decision.ledger import Ledger

from tests.decision.world import OTHER, REVISION, gpu, pod


def book() -> PlanBook:
    plans = PlanBook()
    plans.add(REVISION, [pod(quota=60).slice], 1, "", 100.0)
    return plans


def test_a_plan_holds_its_room_against_everybody_else() -> None:
    ledger = Ledger([gpu()], [])
    book().enter(ledger, 101.0)
    assert ledger.refusal(pod("other", revision=OTHER, quota=50).slice, 1) is not None


def test_the_pod_that_takes_a_plan_gets_its_room() -> None:
    plans, ledger = book(), Ledger([gpu()], [])
    plans.enter(ledger, 101.0)
    taken = plans.take(REVISION, ledger)
    assert taken is not None
    assert ledger.refusal(taken.slice, 1) is None
    assert plans.take(REVISION, ledger) is None


def test_a_plan_that_nobody_takes_is_dropped() -> None:
    plans, ledger = book(), Ledger([gpu()], [])
    plans.enter(ledger, 100.0 + PLAN_S)
    assert plans.of(REVISION) == ()
    assert ledger.refusal(pod("other", revision=OTHER, quota=100).slice, 1) is None


def test_a_plan_whose_room_is_gone_is_dropped() -> None:
    plans = book()
    plans.enter(Ledger([gpu()], [pod("other", revision=OTHER, quota=70)]), 101.0)
    assert plans.of(REVISION) == ()


def test_plans_are_taken_in_their_order_and_by_their_revision_only() -> None:
    plans, ledger = book(), Ledger([gpu()], [])
    plans.add(REVISION, [pod(row=1, quota=30).slice], 1, "", 100.0)
    plans.enter(ledger, 101.0)
    assert plans.take(OTHER, ledger) is None
    taken = [plans.take(REVISION, ledger) for _ in range(2)]
    assert [plan.slice.time_quota.percent for plan in taken if plan is not None] == [60, 30]
