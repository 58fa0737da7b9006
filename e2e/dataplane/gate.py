"""What the gate adds to a launch: the null driver with and without the shim before it, in turns."""

from __future__ import annotations

import json
import os
import statistics
import subprocess

from hasgpu.device.pages import PodPage

from .bench import PROGRAMS, SHIM, Bench
from .figure import Figure

POD = "00000000-0000-4000-8000-00000000000a"
NULL = PROGRAMS / "null"


def measure(launches: int = 1_000_000, rounds: int = 7) -> list[Figure]:
    """Quantiles of single launches, and the mean of all in a row with what accounting costs in them."""
    plain, gated = [], []
    bench = Bench()
    try:
        bench.lay({POD: 100})
        for _ in range(rounds):
            plain.append(_run(launches, {"LD_LIBRARY_PATH": str(NULL)}))
            gated.append(_run(launches, _behind_shim(bench)))
        batches = bench.report(POD).measured_batches / bench.report(POD).launches
    finally:
        bench.close()

    def added(name: str) -> tuple[float, str]:
        differences = [with_shim[name] - without[name] for without, with_shim in zip(plain, gated, strict=True)]
        base = statistics.median(run[name] for run in plain)
        clock = statistics.median(run["clock_read_ns"] for run in plain + gated)
        spread = f"{min(differences):.0f}-{max(differences):.0f} in {rounds} rounds"
        return statistics.median(differences), f"{spread}; driver alone {base:.0f}, one clock read {clock:.0f}"

    (p50, p50_beside), (p99, p99_beside), (mean, mean_beside) = added("p50_ns"), added("p99_ns"), added("mean_ns")
    events = f"; {batches * 1000:.1f} batches of 2 events a 1000 launches of 5 us"
    return [
        Figure(name="gate, slot open, added to a launch, p50", value=p50, unit="ns", goal=50, beside=p50_beside),
        Figure(name="the same, p99", value=p99, unit="ns", goal=150, beside=p99_beside),
        Figure(name="the same, mean with accounting", value=mean, unit="ns CPU", goal=150, beside=mean_beside + events),
    ]


def _behind_shim(bench: Bench) -> dict[str, str]:
    bench.page_of(POD).parent.mkdir(parents=True, exist_ok=True)
    PodPage.create(str(bench.page_of(POD)))
    return {
        "LD_PRELOAD": str(SHIM),
        "HASGPU_REAL_LIBCUDA": str(NULL / "libcuda.so.1"),
        "HASGPU_SCHEDULE_FILE": str(bench.folder / "schedule.v1"),
        "HASGPU_PAGE_FILE": str(bench.page_of(POD)),
        "HASGPU_POD_UID": POD,
    }


def _run(launches: int, environment: dict[str, str]) -> dict[str, float]:
    command = [str(PROGRAMS / "gate_cost"), str(launches), "10"]
    said = subprocess.run(command, check=True, env=environment | {"PATH": os.environ["PATH"]}, capture_output=True)
    answer: dict[str, float] = json.loads(said.stdout)
    return answer
