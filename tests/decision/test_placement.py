"""Best fit: what a new pod gets, and what it is told where there is nothing."""

from __future__ import annotations

import pytest
from hasgpu.decision.ledger import Ledger
from hasgpu.decision.placement import Chosen, NoRoom, SliceWish, choose_slice
from hasgpu.model.gpu import Gpu, Placement
from hasgpu.model.units import SmPartition

from tests.decision.world import GIB, OTHER, bounds, gpu, pod, wish


def chosen(ledger: Ledger, asked: SliceWish, rate: float = 4.0, headroom: float = 1.0) -> Chosen | NoRoom:
    return choose_slice(ledger, asked, rate, headroom=headroom, unprofiled_sm_percent=50)


def slice_of(ledger: Ledger, asked: SliceWish, rate: float = 4.0, headroom: float = 1.0) -> Chosen:
    found = chosen(ledger, asked, rate, headroom)
    assert isinstance(found, Chosen)
    return found


def test_the_rate_is_covered_at_the_least_sm_times_quota() -> None:
    found = slice_of(Ledger([gpu()], []), wish())
    assert found.covers
    assert found.slice.sm_partition.percent * found.slice.time_quota.percent == pytest.approx(1000, rel=0.15)


def test_with_headroom_the_share_is_wide_enough_for_the_quota_to_double() -> None:
    found = slice_of(Ledger([gpu()], []), wish(), headroom=2.0)
    assert found.slice.time_quota.percent <= 50


def test_an_explicit_share_is_rounded_up_to_what_the_gpu_can_do() -> None:
    found = slice_of(Ledger([gpu()], []), wish(sm_partition=SmPartition(11)))
    assert found.slice.sm_partition == SmPartition(13)


def test_a_pod_joins_a_row_of_its_width_rather_than_opening_another() -> None:
    ledger = Ledger([gpu("gpu-b"), gpu()], [pod(revision=OTHER, sm=20, quota=20)])
    found = slice_of(ledger, wish(sm_partition=SmPartition(20)))
    assert (found.slice.gpu_uuid, found.slice.row) == ("gpu-a", 0)


def test_a_fuller_gpu_is_filled_before_an_emptier_one() -> None:
    ledger = Ledger([gpu("gpu-b"), gpu()], [pod(revision=OTHER, sm=40, quota=100)])
    found = slice_of(ledger, wish(sm_partition=SmPartition(20)))
    assert (found.slice.gpu_uuid, found.slice.row) == ("gpu-a", 1)


def test_of_rows_of_its_width_a_pod_joins_the_one_with_the_least_time_left() -> None:
    """What is left of the other may still hold a larger pod."""
    empty = pod("a", revision=OTHER, sm=20, quota=20)
    fuller = pod("b", gpu_uuid="gpu-b", revision=OTHER, sm=20, quota=60)
    asked = wish(sm_partition=SmPartition(20), quota=bounds(30, 30))
    assert slice_of(Ledger([gpu(), gpu("gpu-b")], [empty, fuller]), asked).slice.gpu_uuid == "gpu-b"


@pytest.mark.parametrize(
    ("elsewhere", "gpu_uuid"),
    [
        pytest.param([], "gpu-b", id="another has room"),
        pytest.param([pod("b", gpu_uuid="gpu-b", revision=OTHER, sm=100, quota=100)], "gpu-a", id="no other has"),
    ],
)
def test_no_pod_goes_to_a_gpu_that_is_being_emptied_where(elsewhere: list[Placement], gpu_uuid: str) -> None:
    ledger = Ledger([gpu(), gpu("gpu-b")], [pod("a", revision=OTHER, sm=20, quota=20), *elsewhere])
    ledger.emptying = "gpu-a"
    assert slice_of(ledger, wish(sm_partition=SmPartition(20))).slice.gpu_uuid == gpu_uuid


def test_where_nothing_covers_the_rate_the_cheapest_per_request_is_taken() -> None:
    found = slice_of(Ledger([gpu()], []), wish(quota=bounds(5, 50)), rate=1000.0)
    assert not found.covers
    assert found.requests_per_s > 0.0


def test_without_a_profile_the_upper_bound_of_a_large_share_is_given() -> None:
    found = slice_of(Ledger([gpu()], []), wish(tables={}, quota=bounds(5, 80)))
    assert (found.slice.sm_partition.percent, found.slice.time_quota.percent) == (50, 80)


def test_without_a_profile_an_empty_row_is_better_than_the_rest_of_a_full_one() -> None:
    ledger = Ledger([gpu(), gpu("gpu-b")], [pod(revision=OTHER, sm=50, quota=95)])
    found = slice_of(ledger, wish(tables={}))
    assert (found.slice.row, found.slice.time_quota.percent) == (1, 100)


def test_without_a_profile_fewer_sms_are_taken_where_there_are_no_more() -> None:
    found = slice_of(Ledger([gpu()], [pod(revision=OTHER, sm=70, quota=100)]), wish(tables={}))
    assert (found.slice.sm_partition.percent, found.slice.time_quota.percent) == (30, 100)


def test_a_narrower_pod_does_not_join_a_wider_row() -> None:
    found = chosen(Ledger([gpu()], [pod(revision=OTHER, sm=100, quota=5)]), wish(sm_partition=SmPartition(60)))
    assert isinstance(found, NoRoom)


@pytest.mark.parametrize(
    ("gpus", "held", "asked", "fact"),
    [
        pytest.param([], [], wish(), "no-gpu", id="a cluster without a GPU"),
        pytest.param([gpu(healthy=False)], [], wish(), "gpu-not-ready", id="a broken GPU"),
        pytest.param([gpu(mps_ready=False)], [], wish(), "gpu-not-ready", id="a GPU whose MPS daemon is down"),
        pytest.param([gpu()], [], wish(gpu_product="H100"), "other-product", id="another product"),
        pytest.param([gpu()], [], wish(nodes=frozenset({"node-9"})), "node-not-allowed", id="another node"),
        pytest.param([gpu()], [], wish(memory_bytes=17 * GIB), "memory-full", id="more memory than there is"),
        pytest.param([gpu(mps_client_limit=1)], [pod()], wish(), "clients-full", id="no MPS client left"),
        pytest.param([gpu()], [pod(sm=100, quota=97)], wish(), "gpu-full", id="three percent of a row are no slice"),
    ],
)
def test_no_room_says_why(gpus: list[Gpu], held: list[Placement], asked: SliceWish, fact: str) -> None:
    found = chosen(Ledger(gpus, held), asked)
    assert isinstance(found, NoRoom)
    assert [each.fact for each in found.reasons] == [fact]
