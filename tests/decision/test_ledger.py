"""The books of the GPUs: nothing is ever given twice."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hasgpu.decision.ledger import Ledger
from hasgpu.decision.placement import Chosen, choose_slice
from hasgpu.model.gpu import Gpu, Placement
from hasgpu.model.keys import PodKey, RevisionKey
from hasgpu.model.units import SmPartition, TimeQuota
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.decision.world import GIB, OTHER, bounds, gpu, pod, table, wish


@pytest.mark.parametrize(
    ("held", "wanted", "fact"),
    [
        pytest.param(pod(quota=70), pod("new", quota=30), None, id="what is free may be taken to the last percent"),
        pytest.param(pod(quota=70), pod("new", quota=31), "row-full", id="one percent more may not"),
        pytest.param(
            pod(quota=30, applied=70),
            pod("new", quota=40),
            "row-full",
            id="a shrink gives no room until applied",
        ),
        pytest.param(
            pod(quota=70, terminating=True), pod("new", quota=40), "row-full", id="a pod that leaves still counts"
        ),
        pytest.param(pod(sm=80), pod("new", row=1, sm=25), "sm-full", id="a new row needs SMs of its own"),
        pytest.param(pod(sm=20), pod("new", sm=30), "row-of-other-width", id="a wider pod does not fit a row"),
        pytest.param(pod(sm=20), pod("new", sm=10), "row-of-other-width", id="nor does a narrower one"),
    ],
)
def test_a_new_pod_gets_only_what_is_free(held: Placement, wanted: Placement, fact: str | None) -> None:
    refused = Ledger([gpu()], [held]).refusal(wanted.slice, wanted.processes)
    assert (refused.fact if refused else None) == fact


def test_memory_and_clients_are_counted_over_all_rows() -> None:
    small = gpu(memory_bytes=3 * GIB, mps_client_limit=2)
    ledger = Ledger([small], [pod(), pod("second", row=1)])
    assert ledger.refusal(pod("third", row=2).slice, 1).fact == "clients-full"  # type: ignore[union-attr]
    big = replace(pod("third", row=2).slice, memory_bytes=2 * GIB)
    assert ledger.refusal(big, 0).fact == "memory-full"  # type: ignore[union-attr]


def test_a_raise_after_an_unacknowledged_shrink_may_use_its_own_room() -> None:
    shrunk = pod(quota=20, applied=60)
    ledger = Ledger([gpu()], [shrunk, pod("other", revision=OTHER, quota=30)])
    assert ledger.growth(shrunk) == 70


def test_an_over_committed_row_gives_nothing_but_takes_nothing_either() -> None:
    ledger = Ledger([gpu()], [pod(quota=80), pod("second", quota=70)])
    assert [broken.fact for broken in ledger.over_committed()] == ["row-over-committed"]
    assert ledger.growth(pod(quota=80)) == 80


def test_of_a_row_that_lends_only_a_part_is_given_away() -> None:
    ledger = Ledger([gpu()], [pod(quota=10)], row_percent=20)
    row = ledger.row_of(pod(quota=10))
    assert row is not None
    assert row.free_percent == 10
    assert ledger.growth(pod(quota=10)) == 20
    assert ledger.refusal(pod("b", quota=15).slice, 1) is not None
    assert ledger.refusal(pod("b", quota=10).slice, 1) is None


def test_a_quota_fixed_above_what_rows_give_away_opens_a_row() -> None:
    ledger = Ledger([gpu()], [pod(quota=10)], row_percent=20)
    found = choose_slice(ledger, wish(quota=bounds(60, 60)), 0.0, headroom=1.0, unprofiled_sm_percent=50)
    assert isinstance(found, Chosen)
    assert found.slice.time_quota.percent == 60
    ledger.take(replace(pod("b"), slice=found.slice))
    assert ledger.over_committed() == ()


def test_a_revisions_pods_are_those_entered_and_not_gone_with_what_was_written_last() -> None:
    ledger = Ledger([gpu()], [pod("a", quota=10), pod("theirs", revision=OTHER, quota=10), pod("b", row=1)])
    ledger.leave(pod("b").pod)
    written = ledger.write(pod("a", quota=10), TimeQuota(20))
    assert ledger.placements_of(pod().revision) == (written,)
    assert ledger.placements_of(RevisionKey("ns", "nobody")) == ()


def test_a_row_is_gone_with_its_last_pod() -> None:
    ledger = Ledger([gpu()], [pod(sm=100)])
    ledger.leave(pod().pod)
    assert ledger.refusal(pod("new", row=5, sm=100, quota=100).slice, 1) is None


class Cluster:
    """GPUs, what is written, and agents that acknowledge in their own time."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.gpus: list[Gpu] = [gpu("gpu-a"), gpu("gpu-b", memory_bytes=6 * GIB, mps_client_limit=5)]
        self.pods: dict[PodKey, Placement] = {}
        self.applied: dict[PodKey, int] = {}
        self.made = 0

    def step(self) -> None:
        self.random.choice([self.place, self.place, self.resize, self.resize, self.acknowledge, self.go, self.gone])()

    def ledger(self) -> Ledger:
        return Ledger(self.gpus, self.pods.values())

    def place(self) -> None:
        self.made += 1
        sm = SmPartition(self.random.choice([5, 10, 25, 50, 100])) if self.random.random() < 0.6 else None
        asked = wish(sm_partition=sm, memory_bytes=self.random.choice([GIB, 3 * GIB]), processes=self.made % 3 + 1)
        chosen = choose_slice(self.ledger(), asked, self.random.uniform(0, 30), headroom=2.0, unprofiled_sm_percent=50)
        if isinstance(chosen, Chosen):
            key = PodKey("ns", f"p{self.made}", f"u{self.made}")
            entry = Placement(
                pod=key, revision=RevisionKey("ns", f"r{self.made % 4}"), slice=chosen.slice, processes=asked.processes
            )
            self.ledger().take(entry)
            self.pods[key] = entry

    def resize(self) -> None:
        if self.pods:
            key = self.random.choice(list(self.pods))
            held = self.pods[key]
            most = held.slice.time_quota.percent if held.terminating else self.ledger().growth(held)
            quota = self.random.randint(0, most)
            if quota >= 5 or quota == 0:
                self.pods[key] = self.ledger().write(held, TimeQuota(quota))

    def acknowledge(self) -> None:
        if self.pods:
            key = self.random.choice(list(self.pods))
            held = self.pods[key]
            self.applied[key] = held.slice.time_quota.percent
            self.pods[key] = replace(
                held, applied_generation=held.slice.generation, applied_quota_percent=held.slice.time_quota.percent
            )

    def go(self) -> None:
        if self.pods:
            key = self.random.choice(list(self.pods))
            self.pods[key] = replace(self.pods[key], terminating=True)

    def gone(self) -> None:
        for key in [key for key, held in self.pods.items() if held.terminating][:1]:
            del self.pods[key]
            self.applied.pop(key, None)

    def applied_percents(self) -> dict[tuple[str, int], int]:
        rows: dict[tuple[str, int], int] = {}
        for key, quota in self.applied.items():
            entry = self.pods[key].slice
            rows[entry.gpu_uuid, entry.row] = rows.get((entry.gpu_uuid, entry.row), 0) + quota
        return rows


@pytest.mark.parametrize("seed", range(10))
def test_no_row_and_no_gpu_is_over_committed_in_a_thousand_random_operations(seed: int) -> None:
    """Ten seeds: 10^4 placements, resizes, late acknowledgements, slow departures."""
    cluster = Cluster(seed)
    for _ in range(1000):
        cluster.step()
        assert cluster.ledger().over_committed() == ()
        assert all(percent <= 100 for percent in cluster.applied_percents().values())


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 60))
def test_at_every_instant_what_the_agents_enforce_fits_its_row(seed: int, steps: int) -> None:
    cluster = Cluster(seed)
    for _ in range(steps):
        cluster.step()
    assert cluster.ledger().over_committed() == ()
    assert all(percent <= 100 for percent in cluster.applied_percents().values())


def told(ledger: Ledger) -> tuple[object, ...]:
    """All that a ledger says of its pods."""
    rows = {
        (books.gpu.uuid, row.number): (row.sm_percent, row.free_percent, row.pods)
        for books in ledger.gpus()
        for row in books.rows.values()
    }
    pods = [pod for books in ledger.gpus() for pod in books.placements()]
    mine = {pod.revision: set(ledger.placements_of(pod.revision)) for pod in pods}
    return rows, mine, [ledger.any_below(priority) for priority in range(4)], ledger.over_committed()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 60))
def test_a_ledger_that_follows_says_what_a_new_one_says_and_copies_share_no_change(seed: int, steps: int) -> None:
    cluster = Cluster(seed)
    following = cluster.ledger()
    for _ in range(steps):
        before, copied = cluster.ledger(), following.copy()
        cluster.step()
        for key in keys_of(before) - cluster.pods.keys():
            following.leave(key)
        for placement in cluster.pods.values():
            following.enter(replace(placement, priority=cluster.random.randint(0, 3)))
            following.enter(placement)
        assert told(following) == told(cluster.ledger())
        assert told(copied) == told(before)
        for key in cluster.pods:
            copied.leave(key)
        assert told(following) == told(cluster.ledger())


def keys_of(ledger: Ledger) -> set[PodKey]:
    return {pod.pod for books in ledger.gpus() for pod in books.placements()}


def test_a_pod_that_moves_is_in_one_place() -> None:
    ledger = Ledger([gpu(), gpu("gpu-b")], [pod("a"), pod("b")])
    ledger.enter(replace(pod("a"), slice=replace(pod("a").slice, gpu_uuid="gpu-b", row=3)))
    assert [sorted(books.rows) for books in ledger.gpus()] == [[0], [3]]
    assert not ledger.any_below(0)


def test_the_table_of_this_world_is_proportional() -> None:
    assert table(40.0).rate(50, 50) == pytest.approx(10.0)


def test_where_the_agent_is_silent_nothing_grows_and_nothing_comes() -> None:
    silent = gpu(healthy=False, reachable=False)
    held = pod(quota=30, applied=60)
    ledger = Ledger([silent], [held, pod("other", revision=OTHER, quota=10)])
    assert ledger.growth(held) == 60
    assert ledger.growth(pod("other", revision=OTHER, quota=10)) == 10
    assert ledger.refusal(pod("new", row=1, quota=10).slice, 1).fact == "gpu-not-ready"  # type: ignore[union-attr]


def test_an_agent_ahead_of_our_copy_counts_with_what_it_laid() -> None:
    behind = replace(pod(quota=20), applied_generation=7, applied_quota_percent=80)
    ledger = Ledger([gpu()], [behind])
    assert ledger.refusal(pod("new", quota=30).slice, 1).fact == "row-full"  # type: ignore[union-attr]
    shrunk = ledger.write(behind, TimeQuota(10))
    assert shrunk.held_quota_percent == 80
