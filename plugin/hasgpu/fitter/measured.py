"""Process fitter: tables of measured models, as training and evaluation read them. Reads files; fits nothing."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hasgpu.prediction.cells import Points
from hasgpu.prediction.statics import STATIC_FEATURES

from .errors import FitError

Floats = NDArray[np.float64]

LATENCY = "latency.csv"
STATIC = "model_static.csv"
_COLUMNS = ("model", "batch", "sm", "quota", "latency_ms")


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
    for line, row in _rows(path, _COLUMNS):
        try:
            cell = (int(row["batch"]), int(row["sm"]), int(row["quota"]), float(row["latency_ms"]))
        except ValueError as error:
            raise FitError(f"{path}:{line}: {error}") from error
        rows.setdefault(row["model"], []).append(cell)
    return tuple(_model(name, sorted(cells), statics) for name, cells in sorted(rows.items()))


def read_statics(path: Path) -> dict[str, tuple[str, dict[str, float]]]:
    """Family and static features by model."""
    found: dict[str, tuple[str, dict[str, float]]] = {}
    for line, row in _rows(path, ("model", *STATIC_FEATURES)):
        try:
            features = {name: float(row[name]) for name in STATIC_FEATURES}
        except ValueError as error:
            raise FitError(f"{path}:{line}: {error}") from error
        found[row["model"]] = (row.get("family") or row["model"], features)
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


def _rows(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    raw = path.read_bytes()
    text = gzip.decompress(raw) if path.suffix == ".gz" else raw
    reader = csv.DictReader(io.StringIO(text.decode()))
    missing = [column for column in columns if column not in (reader.fieldnames or ())]
    if missing:
        raise FitError(f"{path}:1: lacks the column {missing[0]!r}")
    for row in reader:
        yield reader.line_num, row
