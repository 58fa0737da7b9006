"""Planned moves: they free the GPU they name, never over-commit on the way, and end the same when interrupted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from hasgpu.decision.defragmentation import Move, Plan, moved, plan_for_room, plan_to_free_a_gpu
from hasgpu.decision.ledger import Ledger
from hasgpu.decision.placement import Chosen, SliceWish, choose_slice
from hasgpu.model.gpu import Placement
from hasgpu.model.keys import RevisionKey
from hasgpu.model.units import SmPartition
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.decision.world import GIB, OTHER, REVISION, bounds, gpu, pod, wish

ANY: Mapping[RevisionKey, SliceWish] = {REVISION: wish(), OTHER: wish()}
GPUS = ("gpu-a", "gpu-b", "gpu-c", "gpu-d")


def books(*pods: Placement, **changes: object) -> Ledger:
    return Ledger([gpu(name, **changes) for name in GPUS], pods)


def used(ledger: Ledger) -> set[str]:
    return {each.gpu.uuid for each in ledger.gpus() if each.rows}


def test_the_emptiest_gpu_is_emptied_into_free_time_of_others() -> None:
    ledger = books(pod("a", sm=50, quota=60), pod("b", gpu_uuid="gpu-b", sm=50, quota=40))
    plan = plan_to_free_a_gpu(ledger, ANY, 8)
    assert plan is not None
    assert (plan.frees, [move.pod.name for move in plan.moves]) == ("gpu-b", ["b"])
    after = moved(ledger, plan.moves)
    assert used(after) == {"gpu-a"}
    (row,) = next(each for each in after.gpus() if each.rows).rows.values()
    assert row.held_percent == 100


@pytest.mark.parametrize(
    ("pods", "wishes", "most"),
    [
        pytest.param([pod("a", sm=100, quota=60), pod("b", gpu_uuid="gpu-b", sm=100, quota=50)], ANY, 8, id="no room"),
        pytest.param([pod("a", quota=20)], ANY, 8, id="one GPU alone is not moved to an empty one"),
        pytest.param(
            [pod("a", quota=60), pod("b", gpu_uuid="gpu-b", quota=30)],
            {REVISION: wish(nodes=frozenset())},
            8,
            id="the pod may go nowhere",
        ),
        pytest.param([pod("a", quota=60), pod("b", gpu_uuid="gpu-b", quota=30)], {}, 8, id="nobody may be moved"),
        pytest.param(
            [pod("a", quota=60, ready=False), pod("b", gpu_uuid="gpu-b", quota=30, ready=False)],
            ANY,
            8,
            id="the pods start",
        ),
        pytest.param(
            [pod(f"{g}{i}", gpu_uuid=f"gpu-{g}", quota=10) for g in "ab" for i in range(3)],
            ANY,
            2,
            id="too many moves",
        ),
    ],
)
def test_no_plan_where_nothing_can_be_freed_at_the_price(
    pods: list[Placement], wishes: Mapping[RevisionKey, SliceWish], most: int
) -> None:
    ledger = Ledger([gpu(name, memory_bytes=16 * GIB) for name in GPUS], pods)
    assert plan_to_free_a_gpu(ledger, wishes, most) is None


def test_of_two_gpus_the_emptier_stays_where_it_would_take_too_many_moves() -> None:
    ledger = books(pod("a", quota=60), *(pod(f"b{i}", gpu_uuid="gpu-b", quota=10) for i in range(3)))
    plan = plan_to_free_a_gpu(ledger, ANY, 2)
    assert plan is not None
    assert (plan.frees, [move.pod.name for move in plan.moves]) == ("gpu-a", ["a"])


def test_a_gpu_whose_pods_are_all_leaving_is_as_good_as_free() -> None:
    ledger = books(pod("a", quota=60), pod("b", gpu_uuid="gpu-b", quota=40, terminating=True))
    assert plan_to_free_a_gpu(ledger, ANY, 8) is None


def test_what_leaves_does_not_keep_the_rest_from_being_moved() -> None:
    gone = pod("b1", gpu_uuid="gpu-b", quota=40, terminating=True)
    ledger = books(pod("a", quota=60), gone, pod("b2", gpu_uuid="gpu-b", quota=10))
    plan = plan_to_free_a_gpu(ledger, ANY, 8, emptying="gpu-b")
    assert plan is not None
    assert (plan.frees, [move.pod.name for move in plan.moves]) == ("gpu-b", ["b2"])


WIDE = wish(sm_partition=SmPartition(50), quota=bounds(50, 100))
FULL = (pod("a1", sm=50, quota=90), pod("b", gpu_uuid="gpu-b", sm=60, quota=90))
NARROW = pod("a2", row=1, sm=10, quota=20)


@pytest.mark.parametrize(
    ("pods", "most", "moves"),
    [
        pytest.param((*FULL, NARROW), 8, ["a2"], id="the pod whose SMs are missing goes elsewhere"),
        pytest.param((*FULL, NARROW), 0, None, id="no move is allowed"),
        pytest.param((*FULL, replace(NARROW, terminating=True)), 8, None, id="it is leaving anyhow"),
        pytest.param(
            (replace(FULL[0], terminating=True), FULL[1], NARROW), 8, None, id="another that leaves makes room enough"
        ),
        pytest.param((*FULL, pod("a2", row=1, sm=50, quota=60)), 8, None, id="nobody fits elsewhere"),
    ],
)
def test_moves_make_room_for_a_pod_that_found_none(
    pods: tuple[Placement, ...], most: int, moves: list[str] | None
) -> None:
    ledger = Ledger([gpu("gpu-a"), gpu("gpu-b")], pods)
    plan = plan_for_room(ledger, ANY, WIDE, most)
    assert (None if plan is None else [move.pod.name for move in plan.moves]) == moves


def test_rows_are_merged_where_that_frees_the_sms_another_gpu_needs() -> None:
    """Of two half-filled rows on the first GPU one may be moved; the row of the second takes its place."""
    ledger = books(
        pod("a1", revision=OTHER, row=0, sm=50, quota=40),
        pod("a2", row=1, sm=50, quota=30),
        pod("b", gpu_uuid="gpu-b", sm=40, quota=20),
    )
    plan = plan_to_free_a_gpu(ledger, {REVISION: wish()}, 8)
    assert plan is not None
    assert [move.pod.name for move in plan.moves] == ["a2", "b"]
    assert used(moved(ledger, plan.moves)) == {"gpu-a"}


shapes = st.lists(
    st.tuples(st.sampled_from([10, 25, 50]), st.integers(5, 60), st.integers(1, 4), st.integers(0, 3)),
    min_size=2,
    max_size=16,
)
"""Of each pod: SMs, quota, GiB, the GPU it was meant for."""


def random_books(shape: list[tuple[int, int, int, int]]) -> Ledger:
    ledger = books()
    for number, (sm, quota, gib, device) in enumerate(shape):
        asked = wish(sm_partition=SmPartition(sm), quota=bounds(quota, quota), memory_bytes=gib * GIB)
        alone = Ledger([gpu(GPUS[device])], [each for b in ledger.gpus() for each in b.placements()])
        found = choose_slice(alone, asked, 0.0, headroom=1.0, unprofiled_sm_percent=sm)
        if isinstance(found, Chosen):
            made = pod(f"p{number:02d}", revision=(REVISION, OTHER)[number % 2])
            ledger.take(replace(made, slice=replace(found.slice, generation=2)))
    return ledger


def layout(ledger: Ledger) -> list[tuple[str, str, int]]:
    """Which pod is where, twins counted as the pod."""
    return sorted(
        (each.pod.name, each.slice.gpu_uuid, each.slice.row) for b in ledger.gpus() for each in b.placements()
    )


def begun(ledger: Ledger, move: Move) -> Ledger:
    """The twin has its slice, the pod still has its own."""
    half = ledger.copy()
    old = half.placement(move.pod)
    assert old is not None
    unheard = {"ready": False, "applied_generation": -1, "applied_quota_percent": -1}
    half.take(replace(old, pod=old.pod._replace(uid="twin"), slice=move.wanted, **unheard))  # type: ignore[arg-type]
    return half


@settings(max_examples=80, deadline=None)
@given(shapes)
def test_a_plan_frees_what_it_says_and_nothing_is_over_committed_at_any_step(
    shape: list[tuple[int, int, int, int]],
) -> None:
    ledger = random_books(shape)
    plan = plan_to_free_a_gpu(ledger, ANY, 100)
    if plan is None:
        return
    before = used(ledger)
    for move in plan.moves:
        assert begun(ledger, move).over_committed() == ()
        ledger = moved(ledger, [move])
        assert ledger.over_committed() == ()
    assert used(ledger) == before - {plan.frees}


@settings(max_examples=60, deadline=None)
@given(shapes)
def test_interrupted_after_any_move_the_next_plan_frees_the_same_gpu(shape: list[tuple[int, int, int, int]]) -> None:
    ledger = random_books(shape)
    plan = plan_to_free_a_gpu(ledger, ANY, 100)
    for done in range(len(plan.moves) if plan is not None else 0):
        assert plan is not None
        left = moved(ledger, plan.moves[:done])
        resumed = plan_to_free_a_gpu(left, ANY, 100, emptying=plan.frees)
        assert isinstance(resumed, Plan)
        assert resumed.frees == plan.frees
        assert used(moved(left, resumed.moves)) == used(moved(ledger, plan.moves))


@settings(max_examples=40, deadline=None)
@given(shapes)
def test_freeing_comes_to_an_end_and_then_nothing_moves(shape: list[tuple[int, int, int, int]]) -> None:
    ledger = random_books(shape)
    pods = len(layout(ledger))
    plans = 0
    while (plan := plan_to_free_a_gpu(ledger, ANY, 100)) is not None:
        ledger, plans = moved(ledger, plan.moves), plans + 1
        assert plans < len(GPUS)
    assert len(layout(ledger)) == pods
    assert ledger.over_committed() == ()
