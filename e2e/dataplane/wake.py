"""How soon a held client launches once it may: at its slot, after a new table, out of being parked."""

from __future__ import annotations

import itertools
import time

from .bench import WINDOW_NS, Bench
from .figure import Figure, quantile

A = "00000000-0000-4000-8000-00000000000a"


def measure(seconds: float = 20, changes: int = 60) -> list[Figure]:
    """All three."""
    return [*_at_the_slot(seconds), _change(changes), _parked(changes // 2)]


def _at_the_slot(seconds: float) -> list[Figure]:
    """From the start of a slot to the first launch in it, by the GPU's own log."""
    bench = Bench(ahead=True)
    try:
        bench.lay({A: 30})
        bench.run(A, "async", 500, seconds + 3)
        time.sleep(0.5)
        start_ns = time.monotonic_ns()
        time.sleep(seconds)
        launches = sorted(kernel.launch_ns for kernel in bench.log.between(start_ns, time.monotonic_ns()))
        table = bench.page.read()
        assert table
        starts = [slot.start_ns for slot in table.entries[0].slots]
    finally:
        bench.close()
    period_ns = table.entries[0].windows * WINDOW_NS
    delays_us = []
    for before_ns, launch_ns in itertools.pairwise(launches):
        at_ns = max(start for start in _instants(starts, period_ns, launch_ns) if start <= launch_ns)
        if before_ns < at_ns - 1_000_000:
            delays_us.append((launch_ns - at_ns) / 1e3)
    beside = f"{len(delays_us)} slots, most {max(delays_us):.0f}"
    return [
        Figure(name="blocked to running, p50", value=quantile(delays_us, 0.5), unit="us", goal=100, beside=beside),
        Figure(name="blocked to running, p99", value=quantile(delays_us, 0.99), unit="us", goal=1000),
    ]


def _instants(starts: list[int], period_ns: int, near_ns: int) -> list[int]:
    base_ns = near_ns // period_ns * period_ns
    return [base_ns + shift_ns + start for shift_ns in (-period_ns, 0) for start in starts]


def _change(changes: int) -> Figure:
    """From the call that publishes to the process's own word that it obeys: a running pod, its quota 30 and 60."""
    bench = Bench(ahead=True)
    try:
        bench.lay({A: 30})
        bench.run(A, "async", 500, changes * 0.2 + 5)
        time.sleep(0.3)
        delays_ms = []
        for number in range(changes):
            generation = number + 2
            start_ns = time.monotonic_ns()
            bench.lay({A: 60 if number % 2 == 0 else 30}, generation)
            _poll(lambda generation=generation: bench.report(A).generation == generation)  # type: ignore[misc]
            delays_ms.append((time.monotonic_ns() - start_ns) / 1e6)
            time.sleep(0.05 + 0.0137 * (number % 5))
    finally:
        bench.close()
    beside = f"p50 {quantile(delays_ms, 0.5):.1f}, most {max(delays_ms):.1f} of {changes}; W = 40 ms, k = 1"
    value = quantile(delays_ms, 0.95)
    return Figure(name="local quota change obeyed, p95", value=value, unit="ms", goal=45, beside=beside)


def _parked(times: int) -> Figure:
    """From the call that publishes the first share to the first kernel's launch."""
    delays_ms = []
    for number in range(times):
        bench = Bench(ahead=True)
        try:
            bench.lay({A: 0})
            bench.run(A, "async", 500, 5)
            bench.wait_for(lambda: bench.report(A).waiting)  # noqa: B023 - called before the next bench is made
            time.sleep(0.0071 * (number % 6))
            start_ns = time.monotonic_ns()
            bench.lay({A: 30}, 2)
            _poll(lambda: bench.log.newest)  # noqa: B023
            kernel = bench.log.kernel(1)
            assert kernel
            delays_ms.append((kernel.launch_ns - start_ns) / 1e6)
        finally:
            bench.close()
    beside = f"p50 {quantile(delays_ms, 0.5):.1f}, most {max(delays_ms):.1f} of {times}; without the API server"
    value = quantile(delays_ms, 0.95)
    return Figure(name="parked to first launch, p95", value=value, unit="ms", goal=240, beside=beside)


def _poll(condition) -> None:  # type: ignore[no-untyped-def]
    deadline_s = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline_s, "waited in vain"
        time.sleep(0.0002)
