"""Which processes of this machine are a pod's, as its cgroups say, and which pods have too many. Reads /proc only."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from hasgpu.model.annotations import GPU_PROCESSES
from hasgpu.model.report import PodSliceReport

PROC = Path("/proc")


def pods_with_processes(uids: Collection[str], proc: Path = PROC) -> frozenset[str]:
    """Those of the pods that still have a process. One walk answers for all of them."""
    if not uids:
        return frozenset()
    # cgroupfs writes the UID as it is, systemd's driver with underscores: "-" parts the names of slices there.
    marks = {mark.encode(): uid for uid in uids for mark in (f"pod{uid}", f"pod{uid.replace('-', '_')}")}
    found: set[str] = set()
    for name in os.listdir(proc):
        if not name.isdigit():
            continue
        try:
            groups = (proc / name / "cgroup").read_bytes()
        except OSError:
            continue  # gone while we looked
        found.update(uid for mark, uid in marks.items() if mark in groups)
    return frozenset(found)


def beyond_told(reports: Iterable[PodSliceReport], annotations: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """Pods with more GPU processes than they said, and what to tell of them: each takes one of MPS's few places."""
    crowded = {}
    for report in reports:
        told = annotations.get(report.pod_uid, {}).get(GPU_PROCESSES, "1")
        if report.pod_uid in annotations and told.isdigit() and report.processes > int(told):
            crowded[report.pod_uid] = f"{report.processes} processes use the GPU, {GPU_PROCESSES} says {told}"
    return crowded
