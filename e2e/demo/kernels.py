"""The share of GPU time that pods really had, from the emulated GPU's own kernel log: no page, no annotation."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any

from e2e.emulated_gpu.kernel_log import ROOT, Kernel, KernelLog

from .timeline import QuotaChange

SPAN_S = 4.0
SETTLED_S = 0.3
BIN_NS = 400_000_000
"""Ten windows: long enough that the place of a slot in its window does not matter."""
SHOWN = 12
"""The largest changes are shown."""


def shares_around(changes: Sequence[QuotaChange], begin_s: float) -> list[dict[str, Any]]:
    """For the largest quota changes: the pod's busiest ten windows before and after, in percent of its row's time.

    ``begin_s`` is the time.monotonic() that the changes count from. Empty where the GPU is a real one.
    """
    largest = sorted(changes, key=lambda change: -abs(change.new_percent - change.old_percent))[:SHOWN]
    kernels = kernels_by_pod({change.pod_uid for change in largest})
    records = []
    for change in sorted(largest, key=lambda change: change.at_s):
        at_ns = int((begin_s + change.at_s) * 1e9)
        before = (at_ns - int(SPAN_S * 1e9), at_ns)
        after = (at_ns + int(SETTLED_S * 1e9), at_ns + int((SETTLED_S + SPAN_S) * 1e9))
        records.append(
            {
                "service": change.service,
                "at_s": round(change.at_s, 2),
                "quota_percent": [change.old_percent, change.new_percent],
                "busiest_percent": [round(busiest(kernels[change.pod_uid], *span), 1) for span in (before, after)],
            }
        )
    return records


def kernels_by_pod(pod_uids: Iterable[str]) -> dict[str, list[Kernel]]:
    """All that the logs still have of these pods; each log is read once, since that takes most of a second."""
    found: dict[str, list[Kernel]] = {uid: [] for uid in pod_uids}
    for folder in sorted((ROOT / "gpus").glob("[0-9]*")):
        for kernel in KernelLog(int(folder.name)).between(0, time.monotonic_ns()):
            if kernel.pod in found:
                found[kernel.pod].append(kernel)
    return found


def busiest(kernels: Sequence[Kernel], start_ns: int, end_ns: int) -> float:
    """The largest share, in percent, of any ten windows of the span."""
    within = [kernel for kernel in kernels if kernel.end_ns > start_ns and kernel.start_ns < end_ns]
    bins = range(start_ns, end_ns - BIN_NS + 1, BIN_NS // 4)
    return max((busy_percent(within, at, at + BIN_NS) for at in bins), default=0.0)


def busy_percent(kernels: Sequence[Kernel], start_ns: int, end_ns: int) -> float:
    """The part of the span, in percent, in which these kernels ran."""
    busy = sum(max(0, min(kernel.end_ns, end_ns) - max(kernel.start_ns, start_ns)) for kernel in kernels)
    return 100.0 * busy / (end_ns - start_ns)
