"""Two pods of one row that always want more: whether each gets its quota, and what one takes from the other.

The table is the one that the node agent makes; the judge is the emulated GPU's log, in which the pods' kernels may run
side by side (40 % of the SMs each), so that every overlap shows.

A client that waits for each kernel leaves the GPU idle between two of them and cannot use all of a slot, whoever gates
it: it is owed its quota times the share it reaches alone and without the shim, and must not have more than its quota.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from hasgpu.model.schedule import ScheduleEntry

from e2e.emulated_gpu.kernel_log import Kernel

from .bench import WINDOW_NS, Bench
from .figure import Figure, quantile

A = "00000000-0000-4000-8000-00000000000a"
B = "00000000-0000-4000-8000-00000000000b"
CLIENTS = (("sync", 500, 1), ("async", 500, 1), ("graph", 100, 1), ("async", 300, 4))
"""Mode, microseconds of a kernel, streams."""
QUOTAS = ((5, 95), (10, 90), (30, 70), (50, 50))


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One pair of clients: errors of share by client, and how far each turn ran into the mate's, less one kernel."""

    client: str
    alone: float
    """The share that the client reaches alone and without the shim."""
    quotas: tuple[int, int]
    shares: tuple[float, float]
    overruns_ms: tuple[float, ...]

    @property
    def error_percent(self) -> float:
        return max(
            max(100 * share - quota, quota * self.alone - 100 * share)
            for share, quota in zip(self.shares, self.quotas, strict=True)
        )

    def as_text(self) -> str:
        """For the table's footnotes."""
        shares = " / ".join(f"{100 * share:.2f}" for share in self.shares)
        late = quantile(self.overruns_ms, 0.99)
        alone = f" (alone {100 * self.alone:.1f} %)" if self.alone < 1 else ""
        return f"{self.client}{alone} {self.quotas[0]}:{self.quotas[1]} -> {shares} %, overrun p99 {late:.2f} ms"


def measure(seconds: float = 10, quotas: Sequence[tuple[int, int]] = QUOTAS) -> tuple[list[Figure], list[str]]:
    """The worst share error and the overruns of all clients and quotas; and a line for each pair."""
    runs = []
    for client in CLIENTS:
        alone = _alone(*client) if client[0] == "sync" else 1.0
        runs += [_run(seconds, client, alone, pair) for pair in quotas]
    worst = max(runs, key=lambda run: run.error_percent)
    late = [overrun for run in runs for overrun in run.overruns_ms]
    name = f"share error over {seconds:g} s, worst of {2 * len(runs)} pods"
    figures = [
        Figure(name=name, value=worst.error_percent, unit="%", goal=1, beside=worst.as_text()),
        Figure(
            name="overrun into the row mate beyond one kernel, p99 of turns",
            value=quantile(late, 0.99),
            unit="ms",
            goal=2,
            beside=f"p50 {quantile(late, 0.5):.2f}, p99.9 {quantile(late, 0.999):.2f}, most {max(late):.2f}",
        ),
    ]
    return figures, [run.as_text() for run in runs]


def _alone(mode: str, kernel_us: int, streams: int) -> float:
    bench = Bench(ahead=True)
    try:
        bench.run(A, mode, kernel_us, 5, streams, LD_PRELOAD="", LD_LIBRARY_PATH=str(bench.double))
        return bench.share(A, 2)
    finally:
        bench.close()


def _run(seconds: float, client: tuple[str, int, int], alone: float, pair: tuple[int, int]) -> Run:
    bench = Bench(ahead=True)
    try:
        bench.start_mps()
        quotas = dict(zip((A, B), pair, strict=True))
        bench.lay(quotas)
        for uid in quotas:
            bench.run(uid, client[0], client[1], seconds + 5, client[2], CUDA_MPS_ACTIVE_THREAD_PERCENTAGE="40")
        time.sleep(1)
        start_ns = time.monotonic_ns()
        time.sleep(seconds)
        end_ns = time.monotonic_ns()
        kernels = bench.log.between(start_ns, end_ns)
        busy = dict.fromkeys(quotas, 0)
        for kernel in kernels:
            busy[kernel.pod] += min(kernel.end_ns, end_ns) - max(kernel.start_ns, start_ns)
        table = bench.page.read()
        assert table
        entries = {entry.pod_uid: entry for entry in table.entries}
        return Run(
            client=f"{client[0]} {client[1]} us" + (f" x {client[2]} streams" if client[2] > 1 else ""),
            alone=alone,
            quotas=pair,
            shares=(busy[A] / (end_ns - start_ns), busy[B] / (end_ns - start_ns)),
            overruns_ms=tuple(overruns_ms(kernels, entries)),
        )
    finally:
        bench.close()


def overruns_ms(kernels: Sequence[Kernel], entries: dict[str, ScheduleEntry]) -> list[float]:
    """Per turn, how far after its slot the pod's last kernel ended, less that kernel; 0 where it ended in time."""
    latest: dict[tuple[str, int], float] = {}
    for kernel in kernels:
        slot_end_ns = _end_of_slot_before(entries[kernel.pod], kernel.end_ns)
        if slot_end_ns is None:
            continue
        length_ns = kernel.end_ns - kernel.start_ns
        turn = (kernel.pod, slot_end_ns)
        latest[turn] = max(latest.get(turn, 0.0), (kernel.end_ns - slot_end_ns - length_ns) / 1e6, 0.0)
    return list(latest.values())


def _end_of_slot_before(entry: ScheduleEntry, at_ns: int) -> int | None:
    """Which of the pod's slots ended last at ``at_ns``; None within a slot."""
    period_ns = entry.windows * WINDOW_NS
    start_ns = at_ns // period_ns * period_ns
    ends = []
    for slot in entry.slots:
        for shift_ns in (-period_ns, 0):
            if start_ns + shift_ns + slot.start_ns < at_ns <= start_ns + shift_ns + slot.end_ns:
                return None
            ends.append(start_ns + shift_ns + slot.end_ns)
    return max(end for end in ends if end < at_ns)
