"""Process fitter: tables of measured models, as training and evaluation read them. Reads files; fits nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hasgpu.prediction.cells import Points
from hasgpu.prediction.statics import STATIC_FEATURES

from .cells_file import CELL_COLUMNS, cell_of
from .csv_table import CsvTable
from .errors import FitError

Floats = NDArray[np.float64]

LATENCY = "latency.csv"
STATIC = "model_static.csv"


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredModel:
    """One model's cells, sorted by batch, SM and quota."""

    name: str
    family: str
    points: Points
    log_seconds: Floats
    statics: Mapping[str, float] | None

    def only(self, chosen: NDArray[np.bool_]) -> MeasuredModel:
        """The same model with some of its cells."""
        return MeasuredModel(
            name=self.name,
            family=self.family,
            points=self.points.at(chosen),
            log_seconds=self.log_seconds[chosen],
            statics=self.statics,
        )


def read_models(folder: Path) -> tuple[MeasuredModel, ...]:
    """All models of a folder with latency.csv and model_static.csv (each may be gzipped), sorted by name."""
    statics = read_statics(_file(folder, STATIC))
    rows: dict[str, list[tuple[int, int, int, float]]] = {}
    path = _file(folder, LATENCY)
    for row in CsvTable(path, ("model", *CELL_COLUMNS)).rows():
        cell = cell_of(row)
        coordinates = (cell.batch, cell.sm_percent, cell.quota_percent, cell.latency_ms)
        rows.setdefault(row.text("model"), []).append(coordinates)
    return tuple(_model(name, sorted(cells), statics) for name, cells in sorted(rows.items()))


def read_statics(path: Path) -> dict[str, tuple[str, dict[str, float]]]:
    """Family and static features by model."""
    found: dict[str, tuple[str, dict[str, float]]] = {}
    table = CsvTable(path, ("model", *STATIC_FEATURES))
    for row in table.rows():
        features = {name: row.number(name, math.isfinite, "a number") for name in STATIC_FEATURES}
        family = row.text("family") if "family" in table.columns else ""
        found[row.text("model")] = (family or row.text("model"), features)
    return found


def _model(
    name: str, cells: list[tuple[int, int, int, float]], statics: Mapping[str, tuple[str, dict[str, float]]]
) -> MeasuredModel:
    table = np.array([cell[:3] for cell in cells], dtype=np.int64)
    family, features = statics.get(name, (name, None))
    return MeasuredModel(
        name=name,
        family=family,
        points=Points(batch=table[:, 0], sm=table[:, 1], quota=table[:, 2]),
        log_seconds=np.log(np.array([cell[3] for cell in cells]) / 1000.0),
        statics=features,
    )


def _file(folder: Path, name: str) -> Path:
    for path in (folder / name, folder / f"{name}.gz"):
        if path.exists():
            return path
    raise FitError(f"{folder}: has neither {name} nor {name}.gz")
