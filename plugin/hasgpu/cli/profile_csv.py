"""Process cli: cells in CSV files. Errors name file, line and column."""

from __future__ import annotations

import csv
import gzip
import io
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hasgpu.model.profile import Cell
from hasgpu.prediction.cells import Points

from .command import Trouble

_BOUNDS = {"batch": (1, 1024), "sm": (1, 100), "quota": (1, 100)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """A CSV of cells to predict: its rows as they are, and the coordinates."""

    columns: tuple[str, ...]
    rows: tuple[dict[str, str], ...]
    points: Points


def read_cells(path: Path, model: str | None) -> tuple[str | None, tuple[Cell, ...]]:
    """The model's name, where the file or the caller says it, and its cells."""
    columns, rows = _table(path, ("batch", "sm", "quota", "latency_ms"))
    names = sorted({row["model"] for _, row in rows}) if "model" in columns else []
    if model is None and len(names) > 1:
        raise Trouble(f"{path}: has {len(names)} models; choose one with --model: {', '.join(names[:8])}")
    if model is not None and names and model not in names:
        raise Trouble(f"{path}: no cell of model {model!r}; there are: {', '.join(names[:8])}")
    chosen = [(line, row) for line, row in rows if not names or row["model"] == (model or names[0])]
    cells = tuple(_cell(path, columns, line, row) for line, row in chosen)
    return model or (names[0] if names else None), cells


def read_grid(path: Path) -> Grid:
    """Cells to predict; other columns are kept."""
    columns, rows = _table(path, ("batch", "sm", "quota"))
    values = [[_whole(path, columns, line, row, name) for name in _BOUNDS] for line, row in rows]
    table = np.array(values, dtype=np.int64).reshape(len(values), 3)
    return Grid(
        columns=tuple(columns),
        rows=tuple(row for _, row in rows),
        points=Points(batch=table[:, 0], sm=table[:, 1], quota=table[:, 2]),
    )


def _table(path: Path, needed: Sequence[str]) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    raw = path.read_bytes()
    try:
        text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode("utf-8-sig")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise Trouble(f"{path}: is no text: {error}") from error
    reader = csv.DictReader(io.StringIO(text), restkey="", restval="")
    columns = [name.strip() for name in reader.fieldnames or ()]
    reader.fieldnames = columns
    for name in needed:
        if name not in columns:
            raise Trouble(f"{path}:1: lacks the column {name!r}; it has: {', '.join(columns) or 'none'}")
    return columns, [(reader.line_num, row) for row in reader]


def _cell(path: Path, columns: list[str], line: int, row: dict[str, str]) -> Cell:
    latency = row["latency_ms"]
    try:
        latency_ms = float(latency)
    except ValueError:
        latency_ms = math.nan
    if not (math.isfinite(latency_ms) and latency_ms > 0.0):
        raise Trouble(f"{_place(path, columns, line, 'latency_ms')} is {latency!r}, must be a number above 0")
    batch, sm, quota = (_whole(path, columns, line, row, name) for name in _BOUNDS)
    return Cell(batch=batch, sm_percent=sm, quota_percent=quota, latency_ms=latency_ms)


def _whole(path: Path, columns: list[str], line: int, row: dict[str, str], name: str) -> int:
    low, high = _BOUNDS[name]
    try:
        value = float(row[name])
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value == int(value) and low <= value <= high):
        raise Trouble(f"{_place(path, columns, line, name)} is {row[name]!r}, must be a whole number {low}..{high}")
    return int(value)


def _place(path: Path, columns: list[str], line: int, name: str) -> str:
    return f"{path}:{line}:{columns.index(name) + 1}: {name}"
