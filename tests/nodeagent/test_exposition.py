"""The agent's metrics page."""

from __future__ import annotations

from hasgpu.device.nvml import Device, Usage
from hasgpu.model.report import NodeReport, PodSliceReport
from hasgpu.model.schedule import GpuSchedule, ScheduleEntry
from hasgpu.nodeagent.exposition import Known, to_text

DEVICE = Device(
    uuid="GPU-0",
    index=0,
    product="Tesla-V100",
    memory_bytes=1 << 34,
    sm_count=80,
    sm_step=2,
    mps_client_limit=48,
    mig=False,
)


ENTRIES = tuple(
    ScheduleEntry(pod_uid=uid, row=0, quota_percent=30, generation=3, windows=1, phase=0, slots=(), memory_bytes=1)
    for uid in ("a", "b")
)


def report(uid: str, *, alive: bool) -> PodSliceReport:
    return PodSliceReport(
        pod_uid=uid,
        namespace="default",
        name=f'odd"name\n{uid}',
        gpu_uuid="GPU-0",
        generation=3,
        quota_percent=30,
        processes=1,
        busy_ns=1_500_000_000,
        gated_ns=0,
        debt_ns=0,
        launches=10,
        waiting=0,
        memory_bytes=5,
        sm_count=40,
        alive=alive,
        borrowed_ns=250_000_000,
    )


def test_what_is_known_is_told_and_what_is_not_is_left_out() -> None:
    usage = Usage(memory_used_bytes=7, utilization_percent=None, mps_processes=(), foreign_processes=(12,))
    text = to_text(
        Known(
            devices=(DEVICE,),
            usages={"GPU-0": usage},
            xids={("GPU-0", 79): 2},
            schedules={"GPU-0": GpuSchedule(gpu_uuid="GPU-0", window_ns=1, rows=((0, 50, "slots"),), entries=ENTRIES)},
            report=NodeReport(node="n", revision=1, pods=(report("a", alive=True), report("b", alive=False))),
            busy={"a": 0.25, "b": 0.5},
        )
    )
    lines = text.splitlines()
    assert 'hw_gpu_memory_usage_bytes{hw_id="GPU-0",hw_model="Tesla-V100"} 7' in lines
    assert 'hw_errors_total{hw_id="GPU-0",hw_type="gpu",error_type="xid-79"} 2' in lines
    assert 'hasgpu_row_sm_ratio{gpu="GPU-0",row="0"} 0.5' in lines
    assert 'hasgpu_row_busy_ratio{gpu="GPU-0",row="0"} 0.75' in lines
    assert 'hasgpu_slice_borrowed_seconds_total{namespace="default",pod="odd\\"name\\na",gpu="GPU-0"} 0.25' in lines
    assert 'hasgpu_slice_busy_seconds_total{namespace="default",pod="odd\\"name\\na",gpu="GPU-0"} 1.5' in lines
    assert not any("utilization" in line or 'name\\nb"' in line for line in lines)
