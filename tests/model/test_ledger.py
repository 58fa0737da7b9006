"""A slice as annotations and back."""

from __future__ import annotations

import pytest
from hasgpu.model.gpu import GpuSlice
from hasgpu.model.ledger import parse_slice, slice_annotations
from hasgpu.model.units import SmPartition, TimeQuota

SLICE = GpuSlice(
    gpu_uuid="GPU-1", row=2, sm_partition=SmPartition(30), time_quota=TimeQuota(42), memory_bytes=2**31, generation=7
)


def test_what_the_allocator_writes_is_what_the_agent_reads() -> None:
    assert parse_slice(slice_annotations(SLICE)) == SLICE


def test_a_pod_that_is_not_placed_has_no_slice() -> None:
    assert parse_slice({"hasgpu.dev/slo-latency": "200ms"}) is None


@pytest.mark.parametrize(
    ("key", "value"),
    [
        pytest.param("time-quota", "3", id="a quota below 5 percent"),
        pytest.param("time-quota", "42%", id="a quota with a percent sign"),
        pytest.param("time-quota", "130", id="a quota above 100 percent"),
        pytest.param("sm-partition", "0", id="no SMs"),
        pytest.param("row", "-1", id="a negative row"),
        pytest.param("generation", "", id="an empty generation"),
        pytest.param("gpu-memory", "9" * 40, id="a memory size no machine has"),
    ],
)
def test_a_bad_slice_is_refused_with_its_key(key: str, value: str) -> None:
    with pytest.raises(ValueError, match=f"slice.hasgpu.dev/{key}"):
        parse_slice(slice_annotations(SLICE) | {f"slice.hasgpu.dev/{key}": value})
