"""A row whose idle time is lent by the arbiter: how much of it is used, and how soon its owner has it back."""

from __future__ import annotations

import itertools
import time

from .bench import WINDOW_NS, Bench
from .figure import Figure, quantile

OWNER = "00000000-0000-4000-8000-00000000000a"
MATE = "00000000-0000-4000-8000-00000000000b"
QUOTA = 60
REST_NS = 150_000_000
"""Of the client of mode pulse."""


def measure(seconds: float = 10) -> list[Figure]:
    """An owner that never comes, then one that comes and goes."""
    return [_reused(seconds), _given_back(seconds)]


def _reused(seconds: float) -> Figure:
    bench = Bench(ahead=True)
    try:
        bench.start_arbiter()
        bench.lay({OWNER: QUOTA, MATE: 100 - QUOTA}, policy="borrow")
        bench.run(MATE, "async", 500, seconds + 5)
        share = 100 * bench.share(MATE, seconds, after_s=1)
    finally:
        bench.close()
    reused = 100 * (share - (100 - QUOTA)) / QUOTA
    beside = f"the mate of {100 - QUOTA} % got {share:.2f} %"
    return Figure(name="idle share reused by row mates", value=reused, unit="%", goal=95, least=True, beside=beside)


def _given_back(seconds: float) -> Figure:
    """The owner launches for 150 ms and rests as long; side by side, so that an overlap shows as one."""
    bench = Bench(ahead=True)
    try:
        bench.start_mps()
        bench.start_arbiter()
        bench.lay({OWNER: QUOTA, MATE: 100 - QUOTA}, policy="borrow")
        for uid, mode in ((OWNER, "pulse"), (MATE, "async")):
            bench.run(uid, mode, 500, seconds + 5, CUDA_MPS_ACTIVE_THREAD_PERCENTAGE="40")
        time.sleep(1)
        start_ns = time.monotonic_ns()
        time.sleep(seconds)
        kernels = sorted(bench.log.between(start_ns, time.monotonic_ns()), key=lambda kernel: kernel.start_ns)
        table = bench.page.read()
        assert table
        slots = next(entry.slots for entry in table.entries if entry.pod_uid == OWNER)
    finally:
        bench.close()

    def slot_of(at_ns: int) -> tuple[int, int] | None:
        """The window and the owner's slot in it."""
        spans = [slot for slot in slots if slot.start_ns <= at_ns % WINDOW_NS < slot.end_ns]
        return (at_ns // WINDOW_NS, spans[0].start_ns) if spans else None

    owner = [kernel for kernel in kernels if kernel.pod == OWNER]
    borrowed = [kernel for kernel in kernels if kernel.pod == MATE and slot_of(kernel.start_ns)]
    delays_ms = []
    for before, kernel in itertools.pairwise(owner):
        back_ns = kernel.start_ns
        if back_ns - before.end_ns < REST_NS * 0.7:
            continue
        still_ns = [other.end_ns for other in borrowed if slot_of(other.start_ns) == slot_of(back_ns)]
        delays_ms.append(max(0.0, (max(still_ns, default=back_ns) - back_ns) / 1e6))
    beside = f"p50 {quantile(delays_ms, 0.5):.2f} of {len(delays_ms)} returns, kernels of 0.5 ms"
    name = "owner back: the mate's last borrowed kernel ended, p95"
    return Figure(name=name, value=quantile(delays_ms, 0.95), unit="ms", goal=2.5, beside=beside)
