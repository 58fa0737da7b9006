"""Evaluation: the inputs: measured models, the authors' loads and logs, public traces (../shared/data or $DATA)."""

from __future__ import annotations

import csv
import gzip
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import IO

import numpy as np
from hasgpu.model.intent import parse_intent
from hasgpu.model.keys import RevisionKey
from hasgpu.model.profile import Cell, LatencyProfile, Measurement
from hasgpu.simulator.functions_file import FunctionSpec
from hasgpu.simulator.truth import Truth, truth_of_cells
from hasgpu.simulator.workload import Floats, generator, poisson_within

ROOT = Path(os.environ.get("DATA", Path(__file__).parents[3] / "shared/data"))
PRODUCT = "Tesla-V100-SXM2-16GB"
BASES_MS = {"resnet50": 84, "mobilenet_v3_large": 87, "convnext_large": 93}
"""Medians of the authors' KServe runs, each request alone on a whole GPU."""
OVERHEAD_S = 0.07
PROFILED_SM, PROFILED_QUOTA = (5, 10, 30, 60, 100), (20, 40, 60, 80, 100)


class NoData(Exception):
    """The measured data is not here."""


def opened(name: str) -> IO[str]:
    """A file of the data, unpacked."""
    path = ROOT / name
    if not path.exists():
        raise NoData(f"{path} is missing: set DATA to the folder that holds open/, has_gpu/ and workloads/")
    return gzip.open(path, "rt") if path.suffix == ".gz" else path.open()


def rows(name: str) -> Iterator[dict[str, str]]:
    """Rows of a table."""
    with opened(name) as lines:
        yield from csv.DictReader(lines)


@lru_cache(maxsize=1)
def measured() -> Mapping[str, tuple[Cell, ...]]:
    """All cells of every model."""
    found: dict[str, list[Cell]] = {}
    for row in rows("open/latency.csv.gz"):
        cell = Cell(
            batch=int(row["batch"]),
            sm_percent=int(row["sm"]),
            quota_percent=int(row["quota"]),
            latency_ms=float(row["latency_ms"]),
        )
        found.setdefault(row["model"], []).append(cell)
    return {model: tuple(cells) for model, cells in found.items()}


class MeasuredTruth(Truth):
    """Sent to another process by its model's name, so that what was asked once is remembered there."""

    def __init__(self, model: str) -> None:
        super().__init__(truth_of_cells(measured()[model]))
        self._model = model

    def __reduce__(self) -> tuple[Callable[[str], Truth], tuple[str]]:
        return truth_of, (self._model,)


@lru_cache(maxsize=100)
def truth_of(model: str) -> Truth:
    """The full measured grid."""
    return MeasuredTruth(model)


@lru_cache(maxsize=100)
def profile_of(model: str, *, full: bool = False) -> LatencyProfile:
    """What policies believe: 25 cells of batch 1, or all."""
    cells = tuple(
        cell
        for cell in measured()[model]
        if full or (cell.batch == 1 and cell.sm_percent in PROFILED_SM and cell.quota_percent in PROFILED_QUOTA)
    )
    one = Measurement(gpu_product=PRODUCT, gate="launch", window_ms=40.0, cells=cells)
    return LatencyProfile(namespace="", name=model, model=model, memory_bytes=None, measurements=(one,))


def function(
    name: str,
    model: str,
    *,
    slo_s: float,
    base_s: float,
    percentile: float = 99.0,
    overhead_s: float = OVERHEAD_S,
    startup_s: float = 8.0,
    full_profile: bool = False,
    **annotations: str,
) -> FunctionSpec:
    """A function of a measured model."""
    told = {"hasgpu.dev/slo-latency": f"{slo_s * 1000:.3f}ms", "hasgpu.dev/slo-percentile": f"{percentile:g}"}
    told |= {f"hasgpu.dev/{key.replace('_', '-')}": value for key, value in annotations.items()}
    return FunctionSpec(
        key=RevisionKey("simulated", name),
        intent=parse_intent(told, "p"),
        profile=profile_of(model, full=full_profile),
        truth=truth_of(model),
        memory_bytes=2 << 30,
        startup_s=startup_s,
        overhead_s=overhead_s,
        slo_base_s=base_s,
    )


def authors_function(model: str, multiple: float, **changes: str) -> FunctionSpec:
    """One of the authors' three functions, at a multiple of KServe's median latency."""
    base_s = BASES_MS[model] / 1000.0
    return function("f", model, slo_s=base_s * multiple, base_s=base_s, **changes)


def authors_rates(trace: str = "rps") -> list[float]:
    """Requests/s of the 50 slots of five seconds."""
    return [float(row["requests_per_s"]) for row in rows("has_gpu/traces.csv") if row["trace"] == trace]


def authors_arrivals(seed: int, trace: str = "rps") -> Floats:
    """Poisson within each second, of the authors' counts."""
    counts = {5 * slot + n: int(rate) for slot, rate in enumerate(authors_rates(trace)) for n in range(5)}
    return poisson_within(counts, generator(seed, "f", "arrivals"))


def evenly_spaced(trace: str = "rps") -> Floats:
    """As the authors' client sent them: at equal distances within a slot."""
    parts = [5.0 * slot + np.arange(round(5.0 * rate)) / rate for slot, rate in enumerate(authors_rates(trace)) if rate]
    return np.concatenate(parts)


@lru_cache(maxsize=1)
def twitter() -> Floats:
    """Requests of each second of a week."""
    return np.array([float(row["requests"]) for row in rows("workloads/twitter_per_second.csv.gz")])


@lru_cache(maxsize=2)
def azure(trace: str) -> Floats:
    """Arrivals of one of the Azure LLM inference traces."""
    return np.array(
        [float(row["arrival_s"]) for row in rows("workloads/azure_llm_arrivals.csv.gz") if row["trace"] == trace]
    )


def thinned_poisson(rates: Iterable[float], seed: int, name: str) -> Floats:
    """Poisson arrivals whose rate is given for each second."""
    chance = generator(seed, name, "arrivals")
    counts = {second: int(chance.poisson(rate)) for second, rate in enumerate(rates)}
    return poisson_within(counts, chance)
