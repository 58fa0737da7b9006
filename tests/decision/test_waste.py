"""When a quota above the demand is worth a write: large falls at once, small ones later, raises never wait."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hasgpu.decision.hybrid import HybridState, RevisionView, decide
from hasgpu.decision.ledger import Ledger
from hasgpu.decision.policy import Policy
from hasgpu.decision.waste import Waste
from hypothesis import given
from hypothesis import strategies as st

from tests.decision.world import gpu, load, pod, view

POLICY = Policy(hold_s=5.0, write_percent_s=80.0)


def after(seen: RevisionView, state: HybridState, now: float) -> tuple[RevisionView, HybridState]:
    """One decision, written and laid at once."""
    decision, state = decide(seen, Ledger([gpu()], seen.placements), state, POLICY, now)
    changed = {change.pod: change.new for change in decision.quota_changes}
    laid = tuple(
        replace(
            each,
            slice=changed.get(each.pod, each.slice),
            applied_generation=changed.get(each.pod, each.slice).generation,
            applied_quota_percent=changed.get(each.pod, each.slice).time_quota.percent,
        )
        for each in seen.placements
    )
    return replace(seen, placements=laid), state


@pytest.mark.parametrize(
    ("fall", "seconds"),
    [
        pytest.param(50, 0, id="a large fall follows the hold at once"),
        pytest.param(16, 0, id="so does one that has cost a write while it was held"),
        pytest.param(10, 3, id="a smaller one waits until it has"),
        pytest.param(3, 22, id="three points are given back after twenty seconds"),
        pytest.param(1, 75, id="and a single one after more than a minute"),
    ],
)
def test_a_fall_is_written_once_it_has_cost_a_write(fall: int, seconds: int) -> None:
    waste, waited = Waste(seen_s=100.0), 0
    while not waste.worth_a_write(fall, POLICY):
        waited += 1
        waste = waste.grown(fall, 100.0 + waited)
    assert waited == seconds


def test_what_is_all_needed_for_a_moment_begins_anew() -> None:
    wasted = Waste(seen_s=100.0).grown(10, 101.0).grown(10, 102.0)
    assert wasted.percent_s == 20.0
    assert wasted.grown(0, 103.0).grown(10, 104.0).percent_s == 10.0


def test_time_in_which_nothing_was_decided_and_a_clock_set_back_count_for_little() -> None:
    assert Waste(seen_s=100.0).grown(10, 160.0).percent_s == 20.0
    assert Waste(seen_s=100.0).grown(10, 40.0).percent_s == 0.0


@given(st.floats(0.5, 7.0), st.floats(0.5, 7.0))
def test_a_raise_never_waits(before: float, now: float) -> None:
    """Whatever was before, the quota carries the demand of this moment."""
    seen, state = after(view(pod(quota=20), load=load(before)), HybridState(), 100.0)
    seen, state = after(replace(seen, load=load(now)), state, 100.1)
    assert seen.placements[0].slice.time_quota.percent >= min(100.0, now / 8.0 * 100.0)


def test_a_load_that_only_fluctuates_writes_no_oftener_than_once_a_minute() -> None:
    """Ten per cent up and down by chance, for five minutes."""
    seen, state, chance, writes = view(pod(quota=20)), HybridState(), random.Random(1), []
    for second in range(300):
        seen = replace(seen, load=load(4.0 * chance.uniform(0.9, 1.1)))
        before = seen.placements
        seen, state = after(seen, state, 100.0 + second)
        writes += [second] if seen.placements != before else []
    assert len(writes) < 10
    assert sum(second >= 60 for second in writes) <= 4
