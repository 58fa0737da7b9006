"""A new revision on a full GPU: the predecessor yields, and only then leaves."""

from __future__ import annotations

from hasgpu.decision.ledger import Ledger
from hasgpu.decision.policy import Policy
from hasgpu.decision.replacement import eviction, yielding
from hasgpu.model.keys import RevisionKey

from tests.decision.world import GIB, OTHER, REVISION, bounds, gpu, pod, wish

SUCCESSOR = RevisionKey("ns", "classify-00002")
FAMILY = {REVISION: bounds(), SUCCESSOR: bounds()}


def test_a_predecessor_goes_to_its_floor_where_that_makes_room() -> None:
    ledger = Ledger([gpu()], [pod(sm=100, quota=100)])
    assert yielding(ledger, SUCCESSOR, wish(), FAMILY) == {REVISION: 5}


def test_strangers_do_not_yield() -> None:
    ledger = Ledger([gpu()], [pod(revision=OTHER, sm=100, quota=100)])
    assert yielding(ledger, SUCCESSOR, wish(), FAMILY) == {}


def test_a_surge_pod_shares_its_siblings_row() -> None:
    ledger = Ledger([gpu()], [pod(sm=100, quota=100)])
    assert yielding(ledger, REVISION, wish(), {REVISION: bounds()}) == {REVISION: 50}


def test_quota_does_not_help_where_memory_is_full() -> None:
    ledger = Ledger([gpu(memory_bytes=GIB)], [pod(sm=100, quota=100)])
    assert yielding(ledger, SUCCESSOR, wish(), FAMILY) == {}


def test_of_two_ready_predecessors_one_is_evicted_where_only_that_makes_room() -> None:
    ledger = Ledger([gpu(memory_bytes=2 * GIB)], [pod("a"), pod("b", row=1)])
    found = eviction(ledger, SUCCESSOR, wish(), FAMILY, Policy())
    assert found is not None
    assert found.pod.name == "a"


def test_the_last_ready_pod_stays() -> None:
    ledger = Ledger([gpu(memory_bytes=GIB)], [pod("a")])
    assert eviction(ledger, SUCCESSOR, wish(), FAMILY, Policy()) is None


def test_with_recreate_the_last_ready_pod_may_go() -> None:
    ledger = Ledger([gpu(memory_bytes=GIB)], [pod("a")])
    found = eviction(ledger, SUCCESSOR, wish(), FAMILY, Policy(recreate=True))
    assert found is not None


def test_while_one_pod_is_leaving_no_second_one_is_evicted() -> None:
    ledger = Ledger([gpu(memory_bytes=3 * GIB)], [pod("a", terminating=True), pod("b", row=1), pod("c", row=2)])
    assert eviction(ledger, SUCCESSOR, wish(), FAMILY, Policy()) is None


def test_nobody_leaves_where_that_would_not_help() -> None:
    ledger = Ledger([gpu(memory_bytes=2 * GIB)], [pod("a"), pod("b", row=1)])
    assert eviction(ledger, SUCCESSOR, wish(memory_bytes=3 * GIB), FAMILY, Policy()) is None
