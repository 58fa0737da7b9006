"""Process simulator: the capacity of slices as the truth has it: for comparators, never for policies. Pure."""

from __future__ import annotations

from hasgpu.model.capacity import CapacityTable
from hasgpu.model.profile import Cell, Gate, LatencyProfile, Measurement
from hasgpu.prediction.capacity import SM_PERCENTS, CapacityTerms, capacity_table
from hasgpu.prediction.surface import fit_surface
from hasgpu.simulator.functions_file import FunctionSpec

_QUOTAS = tuple(range(10, 100, 10))


def true_table(spec: FunctionSpec, gate: Gate, window_s: float, percentile: float) -> CapacityTable:
    """Requests/s within the SLO, without any margin."""
    batches = sorted({1, *(1 << i for i in range(7) if 1 << i < spec.intent.batch_size), spec.intent.batch_size})
    cells = [
        Cell(batch=b, sm_percent=sm, quota_percent=100, latency_ms=1000.0 * spec.truth.work_s(b, sm))
        for b in batches
        for sm in SM_PERCENTS
    ]
    cells += [
        Cell(batch=1, sm_percent=100, quota_percent=q, latency_ms=1000.0 * spec.truth.launch_s(1, 100, q))
        for q in _QUOTAS
    ]
    measured = Measurement(gpu_product="true", gate="launch", window_ms=1000.0 * window_s, cells=tuple(cells))
    profile = LatencyProfile(namespace="", name=spec.name, model="", memory_bytes=None, measurements=(measured,))
    surface = fit_surface(profile, "true")
    assert surface is not None  # there are cells
    sm = spec.intent.sm_partition
    terms = CapacityTerms(
        slo_latency_s=spec.slo_s,
        percentile=percentile,
        batch_size=spec.intent.batch_size,
        overhead_s=spec.overhead_s,
        window_s=window_s,
        gate=gate,
        edge=0.0,
    )
    return capacity_table(surface, terms, extra_sm_percents=(sm.percent,) if sm is not None else ())
