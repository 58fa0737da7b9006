"""Which processes of this machine belong to a pod, as the kernel's cgroups say. Reads /proc only."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

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
