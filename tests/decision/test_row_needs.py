"""Revisions that share rows: a mate gives way at once, the less important first, and all comes to rest."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace

import pytest
from hasgpu.decision.hybrid import HybridState, RevisionView, decide
from hasgpu.decision.ledger import Ledger
from hasgpu.decision.policy import Policy
from hasgpu.decision.row_needs import tell_needs
from hasgpu.model.decision import Decision
from hasgpu.model.gpu import Placement
from hasgpu.model.keys import RevisionKey
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.decision.world import OTHER, REVISION, bounds, gpu, load, pod, table, view, wish

POLICY = Policy()


class Rows:
    """Two GPUs, revisions with pods that are never added or taken away, agents that acknowledge when told."""

    def __init__(self, *pods: Placement, **wishes: object) -> None:
        self.pods = {each.pod: each for each in pods}
        self.states = {each.revision: HybridState() for each in pods}
        self.wish = wish(**wishes)
        self.now = 100.0
        self.told: dict[RevisionKey, Decision] = {}

    def ledger(self) -> Ledger:
        return Ledger([gpu(), gpu("gpu-b")], self.pods.values())

    def acknowledge(self) -> None:
        for key, held in self.pods.items():
            laid = held.slice.time_quota.percent
            self.pods[key] = replace(held, applied_generation=held.slice.generation, applied_quota_percent=laid)

    def step(self, loads: Mapping[RevisionKey, float], after_s: float = 1.0) -> int:
        """One pass; says how many quotas were written."""
        self.now += after_s
        ledger = self.ledger()
        views = [self._view(revision, loads[revision]) for revision in sorted(self.states, key=self._turn)]
        for seen in views:
            tell_needs(seen, ledger, self.states[seen.key], POLICY, self.now)
        written = 0
        for seen in views:
            decision, self.states[seen.key] = decide(seen, ledger, self.states[seen.key], POLICY, self.now)
            self.told[seen.key] = decision
            for change in decision.quota_changes:
                held = self.pods[change.pod]
                applied = max(held.held_quota_percent, held.applied_quota_percent)
                self.pods[change.pod] = replace(
                    held, slice=change.new, applied_generation=1, applied_quota_percent=applied
                )
                written += 1
        return written

    def quota(self, revision: RevisionKey) -> int:
        return sum(held.slice.time_quota.percent for held in self.pods.values() if held.revision == revision)

    def facts(self, revision: RevisionKey) -> list[str]:
        return [each.fact for each in self.told[revision].reasons]

    def _turn(self, revision: RevisionKey) -> tuple[int, RevisionKey]:
        return -max(each.priority for each in self.pods.values() if each.revision == revision), revision

    def _view(self, revision: RevisionKey, rate: float) -> RevisionView:
        mine = [held for held in self.pods.values() if held.revision == revision]
        return view(*mine, key=revision, wish=self.wish, load=load(rate), most=len(mine))


def test_a_mate_gives_back_at_once_what_it_holds_for_demand_that_has_passed() -> None:
    """It had 4.8 requests/s three seconds ago and has 1.6; the other needs 70 % now instead of 40 %."""
    rows = Rows(pod("mine", quota=40), pod("mate", revision=OTHER, quota=60))
    rows.step({REVISION: 3.2, OTHER: 4.8})
    rows.acknowledge()
    rows.step({REVISION: 5.6, OTHER: 1.6}, after_s=3.0)
    assert (rows.quota(REVISION), rows.quota(OTHER)) == (40, 30)
    assert "gives-way" in rows.facts(OTHER)
    assert "waits-for-shrink" in rows.facts(REVISION)
    rows.acknowledge()
    rows.step({REVISION: 5.6, OTHER: 1.6}, after_s=0.1)
    assert (rows.quota(REVISION), rows.quota(OTHER)) == (70, 30)


def test_without_a_mate_in_need_the_quota_stays_for_some_seconds() -> None:
    rows = Rows(pod("mine", quota=40), pod("mate", revision=OTHER, quota=60))
    rows.step({REVISION: 3.2, OTHER: 4.8})
    rows.acknowledge()
    assert rows.step({REVISION: 3.2, OTHER: 1.6}, after_s=3.0) == 0


def test_a_mate_gives_way_though_its_quota_fell_a_moment_ago() -> None:
    rows = Rows(pod("mine", quota=40), pod("mate", revision=OTHER, quota=60))
    rows.step({REVISION: 3.2, OTHER: 4.8})
    rows.acknowledge()
    rows.step({REVISION: 4.0, OTHER: 1.6}, after_s=3.0)
    rows.step({REVISION: 4.8, OTHER: 1.6}, after_s=0.2)
    assert rows.quota(OTHER) == 40


def test_the_less_important_is_degraded_to_its_lower_bound_and_told_for_whom() -> None:
    low, high = pod("low", revision=OTHER, quota=80), replace(pod("high", quota=20), priority=10)
    rows = Rows(low, high, quota=bounds(10, 100))
    rows.step({REVISION: 8.0, OTHER: 6.4})
    rows.acknowledge()
    rows.step({REVISION: 8.0, OTHER: 6.4})
    assert (rows.quota(REVISION), rows.quota(OTHER)) == (90, 10)
    (fact,) = [each for each in rows.told[OTHER].reasons if each.fact == "degraded"]
    assert dict(fact.values) == {
        "needs_percent": 80,
        "gets_percent": 10,
        "for": str(REVISION),
        "priority": 0,
        "its_priority": 10,
    }


def test_equals_that_need_more_than_there_is_get_the_same_part() -> None:
    rows = Rows(pod("mine", quota=20), pod("mate", revision=OTHER, quota=80))
    for _ in range(3):
        rows.step({REVISION: 4.8, OTHER: 7.2})
        rows.acknowledge()
    assert (rows.quota(REVISION), rows.quota(OTHER)) == (40, 60)
    assert rows.step({REVISION: 4.8, OTHER: 7.2}) == 0


def test_equals_that_are_both_short_exchange_nothing_for_chance() -> None:
    rows, chance = Rows(pod("mine", quota=40), pod("mate", revision=OTHER, quota=60)), random.Random(1)
    written = 0
    for _ in range(60):
        loads = {REVISION: 4.8 * chance.uniform(0.95, 1.05), OTHER: 7.2 * chance.uniform(0.95, 1.05)}
        written += rows.step(loads)
        rows.acknowledge()
    assert written == 0


def test_a_model_that_is_not_known_keeps_an_equal_part() -> None:
    rows = Rows(pod("mine", quota=20), pod("mate", revision=OTHER, quota=80))
    unknown = replace(rows._view(OTHER, 1.0), wish=wish(tables={}))
    ledger = rows.ledger()
    known = rows._view(REVISION, 6.4)
    for seen in (known, unknown):
        tell_needs(seen, ledger, HybridState(), POLICY, 101.0)
    decide(known, ledger, HybridState(), POLICY, 101.0)
    decision, _ = decide(unknown, ledger, HybridState(), POLICY, 101.0)
    assert [change.new.time_quota.percent for change in decision.quota_changes] == [39]


def test_a_pod_without_room_takes_time_of_the_less_important_and_of_nobody_else() -> None:
    """Both GPUs are full. Its equal keeps 43 % of their row: of the 80 % that are needed 57 % are covered there."""
    high = replace(pod("high", gpu_uuid="gpu-b", row=0, sm=100, quota=40), priority=10)
    equal = replace(pod("equal", gpu_uuid="gpu-b", revision=RevisionKey("ns", "e"), sm=100, quota=60), priority=10)
    lows = [pod(f"low-{i}", revision=OTHER, sm=100, quota=50) for i in range(2)]
    rows = Rows(high, equal, *lows, tables=wish(tables={gpu().product: table(10.0)}).tables)
    demand = {REVISION: 8.0, equal.revision: 6.0, OTHER: 12.0}
    views = {revision: replace(rows._view(revision, rate), most=0) for revision, rate in demand.items()}
    ledger = rows.ledger()
    for seen in views.values():
        tell_needs(seen, ledger, HybridState(), POLICY, 101.0)
    mine, _ = decide(views[REVISION], ledger, HybridState(), POLICY, 101.0)
    theirs, _ = decide(views[OTHER], ledger, HybridState(), POLICY, 101.0)
    assert {"no-room", "takes-precedence"} <= {each.fact for each in mine.reasons}
    assert "degraded" in [each.fact for each in theirs.reasons]
    assert sum(change.old.time_quota.percent - change.new.time_quota.percent for change in theirs.quota_changes) == 24
    alone, _ = decide(views[REVISION], Ledger([gpu("gpu-b")], [high, equal]), HybridState(), POLICY, 101.0)
    assert "takes-precedence" not in [each.fact for each in alone.reasons]


shapes = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 1), st.integers(0, 4)), min_size=2, max_size=8)
"""Of each pod: its revision, its GPU, its row."""


def random_rows(shape: list[tuple[int, int, int]], priorities: list[int]) -> Rows:
    crowd: dict[tuple[int, int], int] = {}
    for _, device, row in shape:
        crowd[device, row] = crowd.get((device, row), 0) + 1
    return Rows(
        *(
            replace(
                pod(
                    f"p{i}",
                    revision=RevisionKey("ns", f"r{revision}"),
                    gpu_uuid=("gpu-a", "gpu-b")[device],
                    row=row,
                    sm=20,
                    quota=100 // crowd[device, row],
                ),
                priority=priorities[revision],
            )
            for i, (revision, device, row) in enumerate(shape)
        )
    )


priorities = st.lists(st.sampled_from([-5, 0, 0, 10]), min_size=4, max_size=4)
rates = st.lists(st.floats(0.0, 20.0), min_size=4, max_size=4)


@settings(max_examples=60, deadline=None)
@given(shapes, priorities, rates, st.integers(0, 10**6))
def test_at_every_instant_no_row_is_over_committed_however_load_jumps(
    shape: list[tuple[int, int, int]], ranks: list[int], start: list[float], seed: int
) -> None:
    rows, chance = random_rows(shape, ranks), random.Random(seed)
    loads = {RevisionKey("ns", f"r{i}"): rate for i, rate in enumerate(start)}
    for _ in range(12):
        rows.step(loads, after_s=chance.choice([0.1, 1.0]))
        assert rows.ledger().over_committed() == ()
        if chance.random() < 0.5:
            rows.acknowledge()
        if chance.random() < 0.3:
            loads[chance.choice(list(loads))] = chance.uniform(0.0, 20.0)


@settings(max_examples=60, deadline=None)
@given(shapes, priorities, rates, rates)
def test_steady_load_comes_to_rest_and_nobody_outranks_a_short_mate(
    shape: list[tuple[int, int, int]], ranks: list[int], before: list[float], rate: list[float]
) -> None:
    rows = random_rows(shape, ranks)
    rows.step({RevisionKey("ns", f"r{i}"): each for i, each in enumerate(before)})
    loads = {RevisionKey("ns", f"r{i}"): each for i, each in enumerate(rate)}
    # A single point is given back after more than a minute.
    for _ in range(60):
        rows.acknowledge()
        rows.step(loads, after_s=2.0)
    rows.acknowledge()
    assert rows.step(loads) == 0
    for short in rows.pods.values():
        decision = rows.told[short.revision]
        wanted = decision.quota_percent or 0
        for mate in rows.pods.values():
            same_row = (mate.slice.gpu_uuid, mate.slice.row) == (short.slice.gpu_uuid, short.slice.row)
            if same_row and mate.priority < short.priority and len(rows.pods) == len(rows.states):
                assert mate.slice.time_quota.percent <= 5 or short.slice.time_quota.percent >= wanted


@pytest.mark.parametrize("priority", [0, 10])
def test_unknown_load_keeps_what_it_holds(priority: int) -> None:
    mine, mate = replace(pod("mine", quota=40), priority=priority), pod("mate", revision=OTHER, quota=60)
    rows = Rows(mine, mate)
    ledger = rows.ledger()
    seen = rows._view(REVISION, 8.0)
    silent = replace(rows._view(OTHER, 0.0), load=replace(load(), known=False))
    for each in (seen, silent):
        tell_needs(each, ledger, HybridState(), POLICY, 101.0)
    decision, _ = decide(seen, ledger, HybridState(), POLICY, 101.0)
    assert decision.quota_changes == ()
    assert decision.waiting_changes == ()
