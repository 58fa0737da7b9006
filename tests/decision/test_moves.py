"""Planned moves as a leader makes them: begun late, make before break, and the same end wherever it is interrupted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest
from hasgpu.decision.hybrid import HybridState, RevisionView, decide
from hasgpu.decision.ledger import Ledger
from hasgpu.decision.moves import Cluster, Moves, asked, next_moves, resumed
from hasgpu.decision.policy import Policy
from hasgpu.model.decision import Decision
from hasgpu.model.gpu import Placement
from hasgpu.model.keys import PodKey, RevisionKey
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.decision.world import PRODUCT, bounds, gpu, load, pod, table, view, wish

POLICY = Policy(startup_s=3.0, move_after_s=30.0, move_most_s=40.0)
FEW = (10, 20, 30, 40)
TABLE = replace(
    table(),
    sm_percents=FEW,
    requests_per_s=tuple(table().requests_per_s[sm // 5 - 1] for sm in FEW),
    latency_s=table().latency_s[: len(FEW)],
)
WISH = wish(tables={PRODUCT: TABLE})
BEGINS_S = 61
"""Nobody is calm at the first look, a GPU can be freed at the second, and could be for long at the third."""
STARTS_S, DRAINS_S = 3.0, 5.0
GPUS = ("gpu-a", "gpu-b", "gpu-c")


@dataclass
class Town:
    """A cluster whose pods start and drain, and a leader that may be replaced between any two seconds."""

    placements: dict[PodKey, Placement]
    rates: dict[RevisionKey, float] = field(default_factory=dict)
    policy: Policy = POLICY
    now: float = 0.0
    marks: dict[PodKey, str] = field(default_factory=dict)
    twins: dict[PodKey, PodKey] = field(default_factory=dict)
    begun: dict[PodKey, float] = field(default_factory=dict)
    gone: dict[PodKey, float] = field(default_factory=dict)
    moves: Moves = field(default_factory=Moves)
    states: dict[RevisionKey, HybridState] = field(default_factory=dict)
    told: list[str] = field(default_factory=list)
    broken: set[RevisionKey] = field(default_factory=set)
    """Whose new pods never serve."""

    def __post_init__(self) -> None:
        self.revisions = sorted({each.revision for each in self.placements.values()})
        self.least_ready = {key: self.ready(key) for key in self.revisions}

    def ready(self, key: RevisionKey) -> int:
        return sum(each.ready for each in self.placements.values() if each.revision == key)

    def used(self) -> set[str]:
        return {each.slice.gpu_uuid for each in self.placements.values()}

    def ledger(self) -> Ledger:
        return Ledger([gpu(name) for name in GPUS], self.placements.values())

    def lose_leader(self) -> None:
        """Another leads: it finds pods, and what is written on them."""
        self.states.clear()
        self.moves = resumed(self.marks, self.twins, self._seen(self.ledger(), calm=True), self.policy, self.now)

    def second(self) -> None:
        self.now += 1.0
        self._pass_time()
        ledger = self.ledger()
        if self.moves.due(self.policy, self.now, starved=False):
            self.moves = next_moves(self.moves, self._seen(ledger), self.policy, self.now)
        self._mark()
        for key in self.revisions:
            seen = self._view(key)
            decision, self.states[key] = decide(
                seen, ledger, self.states.get(key, HybridState()), self.policy, self.now
            )
            self._carry_out(seen, decision)
        assert self.ledger().over_committed() == ()
        for key, least in self.least_ready.items():
            assert self.ready(key) >= least

    def _seen(self, ledger: Ledger, *, calm: bool = False) -> Cluster:
        movable = [key for key in self.revisions if calm or self.states.get(key, HybridState()).movable]
        return Cluster(ledger=ledger, wishes=dict.fromkeys(movable, WISH))

    def _mark(self) -> None:
        plan = self.moves.plan
        wanted = {move.pod: plan.frees for move in plan.moves} if plan is not None else {}
        kept = {each: frees for each, frees in self.marks.items() if frees == self.moves.emptying}
        self.marks = {**kept, **wanted}

    def _view(self, key: RevisionKey) -> RevisionView:
        own = tuple(each for each in self.placements.values() if each.revision == key)
        staying = sum(not each.terminating for each in own)
        rate = self.rates.get(key, 1.0)
        return view(*own, key=key, load=load(rate), replicas=staying, moving=self.moves.of(key), wish=WISH)

    def _carry_out(self, seen: RevisionView, decision: Decision) -> None:
        self.told += [each.fact for each in decision.reasons if each.fact in ("moves", "moved")]
        for change in decision.quota_changes:
            laid = {"applied_generation": change.new.generation, "applied_quota_percent": change.new.time_quota.percent}
            self.placements[change.pod] = replace(self.placements[change.pod], slice=change.new, **laid)  # type: ignore[arg-type]
        for plan in decision.plans:
            name = f"new-{len(self.begun)}"
            made = replace(pod(name, revision=seen.key, ready=False), slice=plan)
            laid = {"applied_generation": plan.generation, "applied_quota_percent": plan.time_quota.percent}
            self.placements[made.pod] = replace(made, **laid)  # type: ignore[arg-type]
            self.begun[made.pod] = self.now
            if seen.moving is not None and plan == seen.moving.move.wanted:
                self.twins[seen.moving.move.pod] = made.pod
                self.moves = asked(self.moves, made.pod)
        for victim in decision.victims:
            self.placements[victim] = replace(self.placements[victim], ready=False, terminating=True)
            self.gone[victim] = self.now + DRAINS_S

    def _pass_time(self) -> None:
        for key, at in list(self.begun.items()):
            if self.now < at + STARTS_S or (key in self.placements and self.placements[key].revision in self.broken):
                continue
            if key in self.placements and not self.placements[key].terminating:
                self.placements[key] = replace(self.placements[key], ready=True)
        for key, at in list(self.gone.items()):
            if self.now >= at:
                self.placements.pop(key, None)


def town(*pods: Placement, **changes: object) -> Town:
    return Town({each.pod: each for each in pods}, **changes)  # type: ignore[arg-type]


def revision(name: str) -> RevisionKey:
    return RevisionKey("ns", name)


def two_gpus() -> Town:
    """The second GPU's pods fit into rows of the first."""
    pods = [
        pod("a", revision=revision("a"), sm=20, quota=20),
        pod("b", gpu_uuid="gpu-b", revision=revision("b"), sm=20, quota=10),
        pod("c", gpu_uuid="gpu-b", revision=revision("c"), row=1, sm=30, quota=10),
    ]
    return town(*pods, rates={revision("a"): 4.0})


def run(one: Town, seconds: int) -> None:
    for _ in range(seconds):
        one.second()


def test_a_gpu_is_freed_once_it_could_have_been_for_as_long_as_the_policy_says() -> None:
    one = two_gpus()
    run(one, BEGINS_S - 1)
    assert one.told == []
    run(one, 40)
    assert one.used() == {"gpu-a"}
    assert one.told == ["moves", "moved", "moves", "moved"]
    assert not one.marks
    assert one.moves.plan is None


def test_a_revision_whose_new_pods_never_serve_keeps_no_other_gpu_from_being_freed() -> None:
    """And it is left in peace for an hour."""
    pods = [
        pod("a", revision=revision("a"), sm=20, quota=20),
        pod("b", gpu_uuid="gpu-b", revision=revision("b"), sm=20, quota=10),
        pod("c", gpu_uuid="gpu-c", revision=revision("c"), sm=20, quota=15),
    ]
    one = town(*pods, rates={revision("a"): 4.0}, broken={revision("b")})
    run(one, 400)
    assert one.used() == {"gpu-b"}
    assert [each.pod.name for each in one.placements.values() if each.revision == revision("b")] == ["b"]
    assert (one.told.count("moves"), one.told.count("moved")) == (4, 3)


def test_nothing_is_moved_where_the_policy_says_never() -> None:
    one = two_gpus()
    one.policy = replace(POLICY, move_after_s=0.0)
    run(one, 100)
    assert one.told == []


def test_no_pod_of_a_revision_under_load_is_moved() -> None:
    one = two_gpus()
    one.rates = dict.fromkeys(one.revisions, 200.0)
    run(one, 100)
    assert one.told == []


def test_a_pod_that_finds_no_room_does_not_wait_until_moves_have_been_possible_for_long() -> None:
    narrow = pod("a2", row=1, sm=10, quota=20)
    books = Ledger([gpu("gpu-a"), gpu("gpu-b")], [pod("a1", sm=50, quota=90), pod("b", gpu_uuid="gpu-b"), narrow])
    newcomer = wish(quota=bounds(95, 100), sm_partition=replace(narrow.slice.sm_partition, percent=85))
    seen = Cluster(ledger=books, wishes={narrow.revision: wish()}, starved=(newcomer,))
    moves = next_moves(Moves(), seen, POLICY, 0.0)
    assert moves.plan is not None
    assert [move.pod.name for move in moves.plan.moves] == ["b"]
    assert moves.for_room
    # Room is on its way once the pod leaves: nobody else is moved.
    left = [replace(each, terminating=each.slice.gpu_uuid == "gpu-b") for b in books.gpus() for each in b.placements()]
    on_its_way = replace(seen, ledger=Ledger([gpu("gpu-a"), gpu("gpu-b")], left))
    assert next_moves(moves, on_its_way, POLICY, 1.0).plan is None
    # Once it has its room the rest is left as it is.
    assert next_moves(moves, replace(seen, starved=(), wishes={}), POLICY, 1.0).plan is None


def test_a_pod_whose_twin_never_serves_stays_where_it_is() -> None:
    one = two_gpus()
    run(one, BEGINS_S + 1)
    assert one.told == ["moves"]
    for twin in one.twins.values():
        one.begun[twin] = float("inf")
    run(one, int(POLICY.move_most_s))
    assert one.told[:1] == ["moves"]
    assert "moved" not in one.told
    assert not one.marks


shapes = st.lists(
    st.tuples(st.sampled_from([10, 20, 40]), st.integers(5, 40), st.integers(0, 2)), min_size=2, max_size=7
)
"""Of each pod: SMs, quota, GPU."""


def built(shape: Sequence[tuple[int, int, int]]) -> Town:
    """Each pod in a row of its own, as far as that fits."""
    pods: list[Placement] = []
    for number, (sm, quota, device) in enumerate(shape):
        there = [each for each in pods if each.slice.gpu_uuid == GPUS[device]]
        if sum(each.slice.sm_partition.percent for each in there) + sm <= 100:
            key = revision(f"r{number}")
            pods.append(pod(f"p{number}", gpu_uuid=GPUS[device], row=len(there), revision=key, sm=sm, quota=quota))
    return town(*pods, policy=replace(POLICY, move_after_s=1.0))


@settings(max_examples=6, deadline=None)
@given(shapes, st.lists(st.integers(30, 240), max_size=4, unique=True))
def test_interrupted_at_any_second_the_moves_end_as_they_would_have(
    shape: list[tuple[int, int, int]], interrupted: list[int]
) -> None:
    """Ready pods and over-commitment are checked each second."""
    undisturbed, disturbed = built(shape), built(shape)
    for second in range(1, 320):
        undisturbed.second()
        if second in interrupted:
            disturbed.lose_leader()
        disturbed.second()
    assert len(disturbed.used()) == len(undisturbed.used())
    assert disturbed.told.count("moved") == len(disturbed.twins)
    assert len(disturbed.placements) == len(undisturbed.placements)


@pytest.mark.parametrize("second", range(1, 24, 2))
def test_interrupted_while_pods_move_the_same_gpu_is_emptied_by_as_many_moves(second: int) -> None:
    one = two_gpus()
    run(one, BEGINS_S - 1 + second)
    one.lose_leader()
    run(one, 30)
    assert one.used() == {"gpu-a"}
    assert one.told == ["moves", "moved", "moves", "moved"]
