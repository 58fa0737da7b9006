"""As many clients as an MPS server takes: 60 pods of 5 % in three rows, all of them wanting more."""

from __future__ import annotations

import itertools
import time
from collections import defaultdict

from e2e.emulated_gpu.kernel_log import Kernel

from .bench import Bench
from .figure import Figure, quantile
from .share import overruns_ms

ROWS, PODS, QUOTA, SM_PERCENT = 3, 60, 5, 33


def measure(seconds: float = 10) -> list[Figure]:
    """Shares of all, overlaps within rows, and rows side by side."""
    bench = Bench(ahead=True)
    try:
        bench.start_mps()
        uids = [f"00000000-0000-4000-8000-{number:012d}" for number in range(PODS)]
        rows = {uid: number % ROWS for number, uid in enumerate(uids)}
        bench.lay(dict.fromkeys(uids, QUOTA), sm=SM_PERCENT, rows=rows)
        for uid in uids:
            bench.run(uid, "async", 500, seconds + 60, CUDA_MPS_ACTIVE_THREAD_PERCENTAGE=str(SM_PERCENT))
        time.sleep(2)
        start_ns = time.monotonic_ns()
        time.sleep(seconds)
        end_ns = time.monotonic_ns()
        kernels = bench.log.between(start_ns, end_ns)
        shares = bench.log.shares(start_ns, end_ns)
        table = bench.page.read()
        assert table
        late = overruns_ms(kernels, {entry.pod_uid: entry for entry in table.entries})
    finally:
        bench.close()
    errors = [100 * shares.get(uid, 0.0) - QUOTA for uid in uids]
    of_row: dict[int, list[Kernel]] = defaultdict(list)
    for kernel in kernels:
        of_row[rows[kernel.pod]].append(kernel)
    overlap = max(_overlap_ns(row) for row in of_row.values()) / (end_ns - start_ns)
    busy = sum(shares.values()) / ROWS
    beside = f"from {min(errors):+.2f} to {max(errors):+.2f}; rows busy {100 * busy:.1f} % side by side"
    worst = max(abs(error) for error in errors)
    return [
        Figure(name=f"share error of {PODS} pods of {QUOTA} %, worst", value=worst, unit="%", goal=1, beside=beside),
        Figure(name="the same: two pods of a row at once", value=100 * overlap, unit="% of time", goal=5),
        Figure(name="the same: overrun beyond one kernel, p99", value=quantile(late, 0.99), unit="ms", goal=2),
    ]


def _overlap_ns(kernels: list[Kernel]) -> int:
    ordered = sorted(kernels, key=lambda kernel: kernel.start_ns)
    pairs = itertools.pairwise(ordered)
    return sum(max(0, first.end_ns - second.start_ns) for first, second in pairs if first.pod != second.pod)
