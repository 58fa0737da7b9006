"""Process simulator: W.csv, the requests of a run. Arrival times are fixed before anything is simulated (open loop).

Two forms: ``function,arrival_s`` or ``function,second,requests`` (Poisson within the second); columns
in any order, others are ignored.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hasgpu.fitter.csv_table import CsvRow, CsvTable

Floats = NDArray[np.float64]

_ARRIVALS = ["function", "arrival_s"]
_COUNTS = ["function", "second", "requests"]
_MOST_S = 10**9
_MOST_REQUESTS = 10**6
"""Within a second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """Sorted arrival times in seconds by function, and when the run ends."""

    arrivals: Mapping[str, Floats]
    horizon_s: float
    """Whole seconds; what is averaged over time is averaged up to here."""


def read_workload(file: Path, functions: Collection[str], seed: int) -> Workload:
    """The file's workload; every function of the run has an entry. InputError where it can't be used."""
    table = CsvTable(file)
    if {"second", "requests"}.isdisjoint(table.columns) and {*_ARRIVALS} <= {*table.columns}:
        arrivals, end_s = _arrivals(table, functions)
    elif "arrival_s" not in table.columns and {*_COUNTS} <= {*table.columns}:
        arrivals, end_s = _counts(table, functions, seed)
    else:
        wanted = f"{','.join(_ARRIVALS)} or {','.join(_COUNTS)}"
        raise table.error(1, f"columns must be {wanted}, were: {','.join(table.columns)}")
    return Workload(arrivals=arrivals, horizon_s=float(max(1, math.ceil(end_s))))


def generator(seed: int, function: str, purpose: str) -> np.random.Generator:
    """Chance of one purpose of one function: the same for every policy, so that policies meet the same luck."""
    return np.random.Generator(np.random.PCG64([seed, zlib.crc32(f"{purpose} {function}".encode())]))


def poisson_within(counts: Mapping[int, int], chance: np.random.Generator) -> Floats:
    """Arrivals of given counts by second: given its count, a Poisson process is uniform within its second."""
    parts = [second + chance.random(count) for second, count in sorted(counts.items()) if count]
    return np.sort(np.concatenate(parts)) if parts else np.zeros(0)


def _arrivals(table: CsvTable, functions: Collection[str]) -> tuple[dict[str, Floats], float]:
    found: dict[str, list[float]] = {name: [] for name in functions}
    for row in table.rows():
        at_s = row.number("arrival_s", lambda value: 0.0 <= value < _MOST_S, "a number of seconds from 0")
        found[_known(row, functions)].append(at_s)
    end_s = max((max(times, default=0.0) for times in found.values()), default=0.0)
    return {name: np.sort(np.array(times, dtype=np.float64)) for name, times in found.items()}, end_s


def _counts(table: CsvTable, functions: Collection[str], seed: int) -> tuple[dict[str, Floats], float]:
    found: dict[str, dict[int, int]] = {name: {} for name in functions}
    end_s = 0.0
    for row in table.rows():
        name, second = _known(row, functions), row.whole("second", 0, _MOST_S - 1)
        found[name][second] = found[name].get(second, 0) + row.whole("requests", 0, _MOST_REQUESTS)
        end_s = max(end_s, second + 1.0)
    return {name: poisson_within(counts, generator(seed, name, "arrivals")) for name, counts in found.items()}, end_s


def _known(row: CsvRow, functions: Collection[str]) -> str:
    name = row.text("function")
    if name not in functions:
        raise row.error("function", "in the functions file")
    return name
