"""What is told about a GPU, and when."""

from __future__ import annotations

from hasgpu.cluster.custom import HEALTHY
from hasgpu.model.schedule import GpuSchedule, ScheduleEntry
from hasgpu.nodeagent.gpu_objects import Shares, object_name, unknown


def entry(uid: str, row: int, quota: int) -> ScheduleEntry:
    return ScheduleEntry(
        pod_uid=uid, row=row, quota_percent=quota, generation=1, windows=1, phase=0, slots=(), memory_bytes=0
    )


SCHEDULE = GpuSchedule(
    gpu_uuid="GPU-0",
    window_ns=40_000_000,
    rows=((0, 50, "slots"), (1, 30, "slots")),
    entries=(entry("a", 0, 30), entry("b", 0, 60), entry("c", 1, 50)),
)


def test_shares_are_of_the_whole_gpu() -> None:
    shares = Shares.of(SCHEDULE, {"a": 0.3, "b": 0.1, "c": 0.5})
    assert shares.rows == ((0, 50, 90, 2), (1, 30, 50, 1))
    assert shares.allocated_percent == 60
    assert shares.measured_percent == 35


def test_an_empty_gpu_has_no_shares() -> None:
    assert Shares.of(None, {}) == Shares(rows=(), allocated_percent=0, measured_percent=0)


def test_a_gpu_is_named_by_its_uuid() -> None:
    assert object_name("GPU-1a2B") == "gpu-1a2b"


def test_nothing_is_placed_on_what_cannot_be_seen() -> None:
    assert unknown("AgentStopped", "no agent")[HEALTHY].holds is False
