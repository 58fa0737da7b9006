"""Process cli: predicts the cells of a CSV from a profile. Prints CSV alone; remarks go to standard error."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import cast

import click

from hasgpu.fitter.reference_file import packaged_reference
from hasgpu.model.profile import Gate
from hasgpu.prediction.rapp import fit_rapp
from hasgpu.simulator.profile_file import read_profile

from .profile_csv import read_grid
from .profile_file import measurement_of

ADDED = ("latency_ms", "low_ms", "high_ms")


def print_predictions(profile_path: Path, cells: Path, gpu_product: str | None, gate: str | None) -> None:
    """The CSV's rows with three more columns, in its order."""
    profile = read_profile(profile_path)
    measurement = measurement_of(profile.profile, gpu_product)
    grid = read_grid(cells)
    table = fit_rapp(packaged_reference(), measurement, statics=profile.statics, at=grid.points)
    prediction = table.predict(grid.points, cast("Gate | None", gate))
    columns = [*(name for name in grid.columns if name not in ADDED), *ADDED]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    edges = zip(prediction.latency_s, prediction.low_s, prediction.high_s, strict=True)
    for row, values in zip(grid.rows, edges, strict=True):
        told = {name: f"{1000.0 * value:.6g}" for name, value in zip(ADDED, values, strict=True)}
        writer.writerow({**row, **told})
    click.echo(text.getvalue(), nl=False)
    beyond = int((~table.within_cells(grid.points)).sum())
    if beyond and measurement.cells:
        click.echo(f"{beyond} of {len(grid.rows)} cells lie beyond the measured ones: extrapolated", err=True)
