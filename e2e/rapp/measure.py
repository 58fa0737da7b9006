"""Measures on the emulated GPU: cells of a plan, and latencies of requests at a load. Starts pods; judges nothing."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from statistics import median

import numpy as np
from hasgpu.model.profile import Cell, LatencyProfile, Measurement

from e2e.load.arrivals import Slot, poisson
from e2e.load.replay import Target, replay

from .models import Drawn
from .pod import Pod
from .trials import Trial

PRODUCT = "emulated"
PLAN: dict[int, tuple[int, ...]] = dict.fromkeys((10, 20, 40, 70, 100), (1, 2, 4, 8))
"""Batches by SM share: 20 cells."""
INFERENCES = 7
WAY_QUANTILE = 0.9
"""A high percentile of latency holds more than the median of the way."""
ENOUGH_S = 2.0
"""A cell that takes longer is told by fewer inferences."""
WARM_UP = 2
WAITING, CYCLES = 4, 60
GAP_SM = 100
WARM_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What is known of a model before it serves."""

    profile: LatencyProfile
    way_s: float
    """What a request spends outside of the function."""
    gap_s: float
    """What the server takes between two inferences."""


def measured_model(model: Drawn, plan: dict[int, tuple[int, ...]]) -> Measured:
    """Cells at the whole quota, way and gap."""
    cells, ways_s = [], []
    for sm, batches in plan.items():
        with Pod(model, sm, 100) as pod, pod.ahead():
            for batch in batches:
                path = f"/predict?batch={batch}"
                for _ in range(WARM_UP):
                    pod.ask(path)
                took_ms: list[float] = []
                while len(took_ms) < INFERENCES and sum(took_ms) < 1000.0 * ENOUGH_S:
                    began_s = time.monotonic()
                    took_ms.append(pod.ask(path)["total_ms"])
                    ways_s.append(time.monotonic() - began_s - took_ms[-1] / 1000.0)
                cells.append(Cell(batch=batch, sm_percent=sm, quota_percent=100, latency_ms=median(took_ms)))
    lone_s = next(cell.latency_ms for cell in cells if (cell.batch, cell.sm_percent) == (1, GAP_SM)) / 1000.0
    gap_s = max(0.0, _cycle_s(model, GAP_SM) - lone_s)
    one = Measurement(gpu_product=PRODUCT, gate="gpu-time", window_ms=40.0, cells=tuple(cells))
    profile = LatencyProfile(namespace="", name=model.name, model=model.name, memory_bytes=None, measurements=(one,))
    return Measured(profile=profile, way_s=float(np.quantile(ways_s, WAY_QUANTILE)), gap_s=gap_s)


def _cycle_s(model: Drawn, sm_percent: int) -> float:
    """From one inference to the next where somebody always waits."""
    with Pod(model, sm_percent, 100) as pod, pod.ahead(), ThreadPoolExecutor(WAITING) as callers:
        list(callers.map(lambda _: pod.ask(), range(2 * WAITING)))
        began_s = time.monotonic()
        list(callers.map(lambda _: pod.ask(), range(CYCLES)))
        return (time.monotonic() - began_s) / CYCLES


def served_latencies_s(model: Drawn, trial: Trial, requests: int, most_s: float) -> Sequence[float]:
    """Open-loop Poisson arrivals, from the moment each was due; requests that got no answer count as endless."""
    length_s = WARM_S + min(requests / trial.requests_per_s, most_s)
    slots = (Slot(start_s=0.0, length_s=length_s, requests_per_s=trial.requests_per_s),)
    with Pod(model, trial.sm_percent, trial.quota_percent, trial.batch_size) as pod, pod.ahead():
        for _ in range(WARM_UP):
            pod.ask()
        targets = {model.name: Target(url=f"{pod.url}/predict", host="localhost")}
        outcomes = asyncio.run(replay(poisson(model.name, slots, trial.seed), targets))
    return [each.latency_s if each.ok else math.inf for each in outcomes if each.due_s >= WARM_S]
