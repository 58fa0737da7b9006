"""Process fitter: measured cells in a CSV file, of one model or several. Errors are InputError."""

from __future__ import annotations

from pathlib import Path

from hasgpu.model.profile import Cell

from .csv_table import CsvRow, CsvTable

BOUNDS = {"batch": (1, 1024), "sm": (1, 100), "quota": (1, 100)}
CELL_COLUMNS = (*BOUNDS, "latency_ms")
_MOST_MS = 1e7


class CellsFile:
    """Columns batch,sm,quota,latency_ms, and model where there are several; others are ignored."""

    def __init__(self, path: Path) -> None:
        self._table = CsvTable(path, CELL_COLUMNS)
        self._named = "model" in self._table.columns
        self.models = tuple(sorted({row.text("model") for row in self._table.rows()})) if self._named else ()
        """Names, where the file says any."""

    def cells(self, model: str | None = None) -> tuple[Cell, ...]:
        """Of a model; without a name, or where the file says none, all of them."""
        if model is not None and self.models and model not in self.models:
            raise self._table.error(1, f"no cell of model {model!r}; there are: {', '.join(self.models[:8])}")
        anyone = model is None or not self._named
        return tuple(cell_of(row) for row in self._table.rows() if anyone or row.text("model") == model)


def cell_of(row: CsvRow) -> Cell:
    """The cell that a row of these columns is."""
    latency_ms = row.number("latency_ms", lambda value: 0.0 < value < _MOST_MS, "a number of milliseconds above 0")
    batch, sm, quota = (row.whole(name, *bounds) for name, bounds in BOUNDS.items())
    return Cell(batch=batch, sm_percent=sm, quota_percent=quota, latency_ms=latency_ms)
