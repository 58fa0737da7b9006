"""Small inputs for the simulator's tests: a model of 10 ms, a workload of so many requests a second."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hasgpu.model.intent import parse_intent
from hasgpu.model.keys import RevisionKey
from hasgpu.model.profile import Cell, Gate, LatencyProfile, Measurement
from hasgpu.simulator.functions_file import FunctionSpec
from hasgpu.simulator.run import Setup, simulated_gpus
from hasgpu.simulator.truth import truth_of_cells
from hasgpu.simulator.workload import Workload, generator

PRODUCT = "V100"


def cells(work_ms: float = 10.0) -> tuple[Cell, ...]:
    """GPU time falls as 1/SM down to a floor at half the GPU; the launch gate doubles it at half the quota."""
    return tuple(
        Cell(
            batch=batch,
            sm_percent=sm,
            quota_percent=quota,
            latency_ms=max(work_ms * batch**0.5 * max(1.0, 50 / sm), work_ms * 100 / quota),
        )
        for batch in (1, 2, 4)
        for sm in (5, 10, 25, 50, 100)
        for quota in (10, 20, 50, 100)
    )


def function(name: str = "f", work_ms: float = 10.0, **changes: object) -> FunctionSpec:
    """A function with an SLO of 100 ms at P95."""
    told = cells(work_ms)
    measured = Measurement(gpu_product=PRODUCT, gate="launch", window_ms=40.0, cells=told)
    spec = FunctionSpec(
        key=RevisionKey("simulated", name),
        intent=parse_intent({"hasgpu.dev/slo-latency": "100ms"}, "p"),
        profile=LatencyProfile(namespace="", name="p", model="m", memory_bytes=None, measurements=(measured,)),
        truth=truth_of_cells(told),
        memory_bytes=1 << 30,
        startup_s=2.0,
        slo_base_s=0.05,
    )
    return replace(spec, **changes)  # type: ignore[arg-type]


def setup(
    *functions: FunctionSpec,
    rate: float = 20.0,
    seconds: float = 60.0,
    gpus: int = 2,
    gate: Gate = "gpu-time",
    seed: int = 1,
    noise: float = 0.05,
) -> Setup:
    """Poisson arrivals of one rate for each function."""
    specs = functions or (function(),)
    arrivals = {}
    for spec in specs:
        chance = generator(seed, spec.name, "test")
        arrivals[spec.name] = np.sort(chance.random(chance.poisson(rate * seconds)) * seconds)
    return Setup(
        functions=specs,
        workload=Workload(arrivals=arrivals, horizon_s=seconds),
        gpus=simulated_gpus(gpus, PRODUCT),
        gate=gate,
        seed=seed,
        noise=noise,
    )
