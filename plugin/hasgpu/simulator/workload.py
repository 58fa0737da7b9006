"""Process simulator: W.csv, the requests of a run. Arrival times are fixed before anything is simulated (open loop).

Two forms: ``function,arrival_s`` or ``function,second,requests`` (Poisson within the second).
"""

from __future__ import annotations

import csv
import math
import zlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .located import InputError

Floats = NDArray[np.float64]

_ARRIVALS = ["function", "arrival_s"]
_COUNTS = ["function", "second", "requests"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """Sorted arrival times in seconds by function, and when the run ends."""

    arrivals: Mapping[str, Floats]
    horizon_s: float
    """Whole seconds; what is averaged over time is averaged up to here."""


def read_workload(file: Path, functions: Collection[str], seed: int) -> Workload:
    """The file's workload; every function of the run has an entry."""
    try:
        with file.open(newline="", encoding="utf-8") as lines:
            rows = csv.reader(lines)
            header = next(rows, [])
            if header == _ARRIVALS:
                arrivals, end_s = _arrivals(str(file), rows, functions)
            elif header == _COUNTS:
                arrivals, end_s = _counts(str(file), rows, functions, seed)
            else:
                wanted = f"{','.join(_ARRIVALS)} or {','.join(_COUNTS)}"
                raise InputError(str(file), 1, f"columns must be {wanted}, were: {','.join(header)}")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(str(file), 1, f"can't be read: {error}") from error
    return Workload(arrivals=arrivals, horizon_s=float(max(1, math.ceil(end_s))))


def generator(seed: int, function: str, purpose: str) -> np.random.Generator:
    """Chance of one purpose of one function: the same for every policy, so that policies meet the same luck."""
    return np.random.Generator(np.random.PCG64([seed, zlib.crc32(f"{purpose} {function}".encode())]))


def poisson_within(counts: Mapping[int, int], chance: np.random.Generator) -> Floats:
    """Arrivals of given counts by second: given its count, a Poisson process is uniform within its second."""
    parts = [second + chance.random(count) for second, count in sorted(counts.items()) if count]
    return np.sort(np.concatenate(parts)) if parts else np.zeros(0)


def _arrivals(file: str, rows: Iterator[list[str]], functions: Collection[str]) -> tuple[dict[str, Floats], float]:
    found: dict[str, list[float]] = {name: [] for name in functions}
    for line, row in enumerate(rows, start=2):
        name, at = _fields(file, line, row, 2)
        _known(file, line, name, functions)
        found[name].append(_number(file, line, "arrival_s", at))
    end_s = max((max(times, default=0.0) for times in found.values()), default=0.0)
    return {name: np.sort(np.array(times, dtype=np.float64)) for name, times in found.items()}, end_s


def _counts(
    file: str, rows: Iterator[list[str]], functions: Collection[str], seed: int
) -> tuple[dict[str, Floats], float]:
    found: dict[str, dict[int, int]] = {name: {} for name in functions}
    end_s = 0.0
    for line, row in enumerate(rows, start=2):
        name, second_text, count_text = _fields(file, line, row, 3)
        _known(file, line, name, functions)
        second, count = _whole(file, line, "second", second_text), _whole(file, line, "requests", count_text)
        found[name][second] = found[name].get(second, 0) + count
        end_s = max(end_s, second + 1.0)
    return {name: poisson_within(counts, generator(seed, name, "arrivals")) for name, counts in found.items()}, end_s


def _fields(file: str, line: int, row: list[str], count: int) -> list[str]:
    if len(row) != count:
        raise InputError(file, line, f"{count} columns are needed, found {len(row)}")
    return row


def _known(file: str, line: int, name: str, functions: Collection[str]) -> None:
    if name not in functions:
        raise InputError(file, line, f"function {name!r} is not in the functions file")


def _number(file: str, line: int, column: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0.0 <= value < 1e9:
        raise InputError(file, line, f"{column} must be a number of seconds from 0, was: {text!r}")
    return value


def _whole(file: str, line: int, column: str, text: str) -> int:
    value = _number(file, line, column, text)
    if value != int(value):
        raise InputError(file, line, f"{column} must be a whole number, was: {text!r}")
    return int(value)
