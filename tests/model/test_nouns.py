"""Nouns refuse what cannot be, and answer for their units."""

import pytest
from hasgpu.model.capacity import CapacityTable
from hasgpu.model.gpu import Gpu, GpuSlice, Placement
from hasgpu.model.keys import PodKey, RevisionKey
from hasgpu.model.units import QuotaBounds, SmPartition, TimeQuota
from hypothesis import given
from hypothesis import strategies as st


def gpu(sm_count: int = 80, sm_step: int = 2) -> Gpu:
    return Gpu(
        uuid="GPU-1",
        node="node1",
        product="Tesla V100-SXM2-16GB",
        memory_bytes=16 << 30,
        sm_count=sm_count,
        sm_step=sm_step,
        mps_client_limit=48,
        healthy=True,
        mps_ready=True,
        agent_address="10.0.0.1:9401",
    )


@pytest.mark.parametrize("percent", [-1, 1, 4, 101])
def test_a_time_quota_is_zero_or_five_to_a_hundred(percent: int) -> None:
    with pytest.raises(ValueError, match=str(percent)):
        TimeQuota(percent)


@pytest.mark.parametrize("percent", [-1, 0, 101])
def test_an_sm_partition_is_one_to_a_hundred(percent: int) -> None:
    with pytest.raises(ValueError, match=str(percent)):
        SmPartition(percent)


def test_bounds_do_not_cross() -> None:
    with pytest.raises(ValueError, match="above"):
        QuotaBounds(low=TimeQuota(50), high=TimeQuota(20))


@given(st.integers(1, 100), st.integers(1, 200), st.sampled_from([1, 2, 4, 8]))
def test_a_share_is_rounded_up_to_what_the_gpu_can_do_and_rounding_twice_changes_nothing(
    percent: int, sm_count: int, step: int
) -> None:
    device = gpu(sm_count=max(sm_count, step), sm_step=step)
    once = device.rounded_up(SmPartition(percent))
    assert once.percent >= percent
    assert device.rounded_up(once) == once


def test_a_shrink_frees_room_only_once_the_agent_has_acknowledged_it() -> None:
    slice_ = GpuSlice(
        gpu_uuid="GPU-1",
        row=0,
        sm_partition=SmPartition(20),
        time_quota=TimeQuota(30),
        memory_bytes=1,
        generation=4,
    )
    told = Placement(
        pod=PodKey("d", "p", "u"),
        revision=RevisionKey("d", "r"),
        slice=slice_,
        applied_generation=3,
        applied_quota_percent=80,
    )
    assert told.held_quota_percent == 80


def test_a_revision_key_reads_back() -> None:
    assert RevisionKey.parse(str(RevisionKey("a", "b"))) == RevisionKey("a", "b")
    with pytest.raises(ValueError, match="a/b/c"):
        RevisionKey.parse("a/b/c")


def table() -> CapacityTable:
    rates = tuple(tuple(scale * q for q in range(101)) for scale in (0.1, 0.2))
    return CapacityTable(sm_percents=(10, 20), requests_per_s=rates, latency_s=rates)


def test_a_share_between_two_lines_counts_as_the_lower_and_below_all_as_nothing() -> None:
    assert table().rate(15, 50) == table().rate(10, 50)
    assert table().rate(5, 100) == 0.0
    assert table().latency(5, 100) == float("inf")


@pytest.mark.parametrize(
    ("rate", "low", "high", "expected"),
    [(4.0, 5, 100, 20), (0.1, 5, 100, 5), (30.0, 5, 100, None), (0.0, 0, 100, 0), (0.3, 0, 100, 5)],
)
def test_the_least_quota_serves_the_rate_within_bounds(rate: float, low: int, high: int, expected: int | None) -> None:
    assert table().least_quota(20, rate, low, high) == expected
