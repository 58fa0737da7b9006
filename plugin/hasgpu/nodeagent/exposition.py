"""The agent's metrics as Prometheus text. Pure: what is known goes in, a page comes out.

GPU figures bear the names of OpenTelemetry's hardware conventions (hw.gpu.*), slices are hasgpu.slice.*.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from hasgpu.device.nvml import Device, Usage
from hasgpu.model.report import NodeReport
from hasgpu.model.schedule import GpuSchedule

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

FAMILIES = {
    "hw_gpu_memory_limit_bytes": ("gauge", "Memory of the GPU."),
    "hw_gpu_memory_usage_bytes": ("gauge", "Memory in use on the GPU, as NVML says."),
    "hw_gpu_utilization_ratio": ("gauge", "Time with any kernel running, as NVML says."),
    "hw_errors_total": ("counter", "Faults the driver reported."),
    "hasgpu_gpu_foreign_processes": ("gauge", "Processes that use the GPU without MPS."),
    "hasgpu_row_sm_ratio": ("gauge", "SM partition of the row."),
    "hasgpu_row_quota_ratio": ("gauge", "Sum of the time quotas laid in the row."),
    "hasgpu_row_busy_ratio": ("gauge", "GPU time of the row used in the last seconds."),
    "hasgpu_slice_quota_ratio": ("gauge", "Time quota laid for the pod."),
    "hasgpu_slice_generation": ("gauge", "Last generation laid for the pod."),
    "hasgpu_slice_busy_seconds_total": ("counter", "GPU time measured for the pod."),
    "hasgpu_slice_borrowed_seconds_total": ("counter", "Of its GPU time: in idle time that was lent, not owed."),
    "hasgpu_slice_overrun_seconds_total": ("counter", "Of its GPU time: outside its slots, owed."),
    "hasgpu_slice_debt_forgiven_seconds_total": ("counter", "Debt above the cap."),
    "hasgpu_slice_gated_seconds_total": ("counter", "Time its launches were held at the gate."),
    "hasgpu_slice_debt_seconds": ("gauge", "GPU time it owes its row."),
    "hasgpu_slice_launches_total": ("counter", "Launches let through."),
    "hasgpu_slice_waiting_launches": ("gauge", "Launches held at the gate now."),
    "hasgpu_slice_memory_usage_bytes": ("gauge", "Device memory the pod has allocated."),
    "hasgpu_slice_allocations_refused_total": ("counter", "Allocations beyond its memory."),
    "hasgpu_slice_bypass_suspected": ("gauge", "Drivers loaded beside the one behind the shim."),
    "hasgpu_slice_processes": ("gauge", "Its processes that use the GPU."),
}
"""Every metric of the agent: kind and meaning, as docs/metrics.md says them."""

Sample = tuple[str, dict[str, str], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What a scrape is made of."""

    devices: tuple[Device, ...]
    usages: Mapping[str, Usage]
    xids: Mapping[tuple[str, int], int]
    schedules: Mapping[str, GpuSchedule]
    report: NodeReport
    busy: Mapping[str, float]
    """By pod UID: the part of its row's time that it used in the last seconds."""


def to_text(known: Known) -> str:
    """The whole page, families in the order of FAMILIES."""
    # A sample of a family that is not in the table is an error, not a metric less.
    families: dict[str, list[tuple[dict[str, str], float]]] = {name: [] for name in FAMILIES}
    for name, labels, value in (*_of_gpus(known), *_of_rows(known), *_of_slices(known)):
        families[name].append((labels, value))
    lines: list[str] = []
    for name, members in families.items():
        if members:
            kind, said = FAMILIES[name]
            lines += [f"# HELP {name} {said}", f"# TYPE {name} {kind}"]
            lines += [f"{name}{{{_labels(labels)}}} {value:.10g}" for labels, value in members]
    return "\n".join(lines) + "\n"


def _of_gpus(known: Known) -> Iterable[Sample]:
    for device in known.devices:
        gpu = {"hw_id": device.uuid, "hw_model": device.product}
        yield "hw_gpu_memory_limit_bytes", gpu, device.memory_bytes
        usage = known.usages.get(device.uuid)
        if usage is None:
            continue
        if usage.memory_used_bytes is not None:
            yield "hw_gpu_memory_usage_bytes", gpu, usage.memory_used_bytes
        if usage.utilization_percent is not None:
            yield "hw_gpu_utilization_ratio", gpu, usage.utilization_percent / 100
        yield "hasgpu_gpu_foreign_processes", gpu, len(usage.foreign_processes)
    for (uuid, xid), count in sorted(known.xids.items()):
        yield "hw_errors_total", {"hw_id": uuid, "hw_type": "gpu", "error_type": f"xid-{xid}"}, count


def _of_rows(known: Known) -> Iterable[Sample]:
    for uuid, schedule in sorted(known.schedules.items()):
        for row, sm, _ in schedule.rows:
            labels = {"gpu": uuid, "row": str(row)}
            quota = sum(entry.quota_percent for entry in schedule.entries if entry.row == row)
            yield "hasgpu_row_sm_ratio", labels, sm / 100
            busy = sum(known.busy.get(entry.pod_uid, 0.0) for entry in schedule.entries if entry.row == row)
            yield "hasgpu_row_quota_ratio", labels, quota / 100
            yield "hasgpu_row_busy_ratio", labels, busy


def _of_slices(known: Known) -> Iterable[Sample]:
    for pod in known.report.pods:
        if not pod.alive:
            continue
        labels = {"namespace": pod.namespace, "pod": pod.name, "gpu": pod.gpu_uuid}
        yield "hasgpu_slice_quota_ratio", labels, pod.quota_percent / 100
        yield "hasgpu_slice_generation", labels, pod.generation
        yield "hasgpu_slice_busy_seconds_total", labels, pod.busy_ns / 1e9
        yield "hasgpu_slice_borrowed_seconds_total", labels, pod.borrowed_ns / 1e9
        yield "hasgpu_slice_overrun_seconds_total", labels, pod.overrun_ns / 1e9
        yield "hasgpu_slice_debt_forgiven_seconds_total", labels, pod.forgiven_ns / 1e9
        yield "hasgpu_slice_gated_seconds_total", labels, pod.gated_ns / 1e9
        yield "hasgpu_slice_debt_seconds", labels, pod.debt_ns / 1e9
        yield "hasgpu_slice_launches_total", labels, pod.launches
        yield "hasgpu_slice_waiting_launches", labels, pod.waiting
        yield "hasgpu_slice_memory_usage_bytes", labels, pod.memory_bytes
        yield "hasgpu_slice_allocations_refused_total", labels, pod.refused_allocations
        yield "hasgpu_slice_bypass_suspected", labels, pod.bypass_suspected
        yield "hasgpu_slice_processes", labels, pod.processes


def _labels(labels: Mapping[str, str]) -> str:
    return ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
