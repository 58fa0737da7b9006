"""What a quota of 100 % costs: the same client before the emulated driver with and without the shim, in turns."""

from __future__ import annotations

import statistics
import time

from .bench import Bench
from .figure import Figure

A = "00000000-0000-4000-8000-00000000000a"
CLIENTS = (("async", 500), ("async", 50), ("graph", 100), ("burst", 200), ("sync", 2000), ("sync", 200))


def measure(seconds: float = 3, rounds: int = 5) -> list[Figure]:
    """Lost throughput of each client, median of pairs of runs."""
    return [_lost(mode, kernel_us, seconds, rounds) for mode, kernel_us in CLIENTS]


def _lost(mode: str, kernel_us: int, seconds: float, rounds: int) -> Figure:
    ratios, plain = [], []
    for _ in range(rounds):
        without = _rate(mode, kernel_us, seconds, shim=False)
        ratios.append(100 - 100 * _rate(mode, kernel_us, seconds, shim=True) / without)
        plain.append(without)
    spread = f"{min(ratios):.2f} to {max(ratios):.2f} in {rounds} pairs"
    beside = f"{spread}; driver alone {statistics.median(plain):.0f} kernels/s"
    name = f"throughput lost at quota 100 %, {mode} {kernel_us} us"
    return Figure(name=name, value=statistics.median(ratios), unit="%", goal=1, beside=beside)


def _rate(mode: str, kernel_us: int, seconds: float, *, shim: bool) -> float:
    bench = Bench(ahead=True)
    try:
        bench.lay({A: 100})
        extra = {} if shim else {"LD_PRELOAD": "", "LD_LIBRARY_PATH": str(bench.double)}
        bench.run(A, mode, kernel_us, seconds + 2, **extra)
        time.sleep(0.5)
        first, start_ns = bench.log.newest, time.monotonic_ns()
        time.sleep(seconds)
        return (bench.log.newest - first) / ((time.monotonic_ns() - start_ns) / 1e9)
    finally:
        bench.close()
