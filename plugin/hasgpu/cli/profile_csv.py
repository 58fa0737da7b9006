"""Process cli: cells in CSV files, as the profile verbs want them. Errors name file, line and column."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hasgpu.fitter.cells_file import BOUNDS, CellsFile
from hasgpu.fitter.csv_table import CsvTable
from hasgpu.model.profile import Cell
from hasgpu.prediction.cells import Points

from .command import Trouble


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """A CSV of cells to predict: its rows as they are, and the coordinates."""

    columns: tuple[str, ...]
    rows: tuple[dict[str, str], ...]
    points: Points


def read_cells(path: Path, model: str | None) -> tuple[str | None, tuple[Cell, ...]]:
    """The model's name, where the file or the caller says it, and its cells."""
    file = CellsFile(path)
    if model is None and len(file.models) > 1:
        raise Trouble(f"{path}: has {len(file.models)} models; choose one with --model: {', '.join(file.models[:8])}")
    return model or (file.models[0] if file.models else None), file.cells(model)


def read_grid(path: Path) -> Grid:
    """Cells to predict; other columns are kept."""
    table = CsvTable(path, tuple(BOUNDS))
    rows = tuple(table.rows())
    values = [[row.whole(name, *bounds) for name, bounds in BOUNDS.items()] for row in rows]
    at = np.array(values, dtype=np.int64).reshape(len(values), len(BOUNDS))
    return Grid(
        columns=table.columns,
        rows=tuple(dict(zip(table.columns, row.values, strict=True)) for row in rows),
        points=Points(batch=at[:, 0], sm=at[:, 1], quota=at[:, 2]),
    )
