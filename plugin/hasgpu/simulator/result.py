"""Process simulator: what a run amounts to, as `kn hasgpu simulate` writes it into result.json. Pure.

A request is late at a multiple where its latency exceeds multiple x slo-base, or where it was never answered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .cluster import Cluster
from .deployed import Deployed
from .run import TIMEOUT_S

Floats = NDArray[np.float64]

MULTIPLES = (1.5, 2.0, 3.0, 5.0)
DECISIONS_FILE = "decisions.jsonl"


def latencies_s(function: Deployed) -> Floats:
    """Seconds from arrival to response; infinite for a request that failed."""
    taken = function.requests.finishes() - function.requests.arrivals() + function.requests.overhead_s
    result: Floats = np.where(taken <= TIMEOUT_S, taken, np.inf)
    return result


def summary(
    cluster: Cluster, horizon_s: float, least_gpu_seconds: Callable[[Deployed], float] | None = None
) -> dict[str, object]:
    """Overall, with one entry a function under ``functions``; ``least_gpu_seconds`` is told beside what was
    allocated."""
    functions = list(cluster.functions.values())
    overall = _figures(functions, horizon_s, cluster.hosts.total / horizon_s)
    singles = {each.spec.name: _figures([each], horizon_s, each.hosts.total / horizon_s) for each in functions}
    if least_gpu_seconds is not None:
        least = {each.spec.name: least_gpu_seconds(each) for each in functions}
        for figures, value in ((overall, sum(least.values())), *((singles[name], least[name]) for name in singles)):
            figures["gpu_seconds"]["least"] = round(value, 6)
    return {**overall, "functions": singles}


def _figures(functions: Sequence[Deployed], horizon_s: float, whole_gpus: float) -> dict[str, Any]:
    taken = [latencies_s(each) for each in functions]
    everything = np.concatenate(taken) if taken else np.zeros(0)
    answered = everything[np.isfinite(everything)] * 1000.0
    borrowed = sum(each.borrowed() for each in functions)
    allocated = sum(each.allocated.total for each in functions) + borrowed
    late = {
        f"{multiple:g}": _share(
            seconds > multiple * each.spec.slo_base_s for each, seconds in zip(functions, taken, strict=True)
        )
        for multiple in MULTIPLES
    }
    late["slo"] = _share(seconds > each.spec.slo_s for each, seconds in zip(functions, taken, strict=True))
    return {
        "requests": len(everything),
        "failed": len(everything) - len(answered),
        "latency_ms": {
            "p50": _percentile(answered, 50),
            "p95": _percentile(answered, 95),
            "p99": _percentile(answered, 99),
            "max": _percentile(answered, 100),
        },
        "violations": late,
        "gpu_seconds": {
            "allocated": round(allocated, 6),
            "busy": round(sum(each.busy() for each in functions), 6),
            **({"borrowed": round(borrowed, 6)} if borrowed else {}),
        },
        "mean_gpus": round(allocated / horizon_s, 8),
        "whole_gpus": round(whole_gpus, 6),
        "changes": {
            "vertical": sum(each.changes.vertical for each in functions),
            "out": sum(each.changes.out for each in functions),
            "in": sum(each.changes.into for each in functions),
        },
        "cold_starts": sum(each.requests.cold for each in functions),
        "decisions_file": DECISIONS_FILE,
    }


def _share(late: Iterable[NDArray[np.bool_]]) -> float:
    masks = list(late)
    count = sum(mask.size for mask in masks)
    return round(sum(int(mask.sum()) for mask in masks) / count, 6) if count else 0.0


def _percentile(values_ms: Floats, percent: float) -> float | None:
    """None where no request was answered."""
    return round(float(np.percentile(values_ms, percent)), 3) if values_ms.size else None
