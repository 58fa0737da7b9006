"""Process cli: prints which cells to measure next. The choice itself is prediction's."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import click

from hasgpu.fitter.reference_file import packaged_reference
from hasgpu.model.profile import Measurement
from hasgpu.prediction.plan import PlannedCell, first_plan, next_cells
from hasgpu.simulator.profile_file import read_profile

from .profile_file import measurement_of


def print_plan(
    profile_path: Path | None, most: int, target_percent: float | None, gpu_product: str | None, output: Path
) -> None:
    """CSV with the price of each cell; the sum on standard error."""
    measurement = Measurement(gpu_product=gpu_product or "unknown", gate="launch", window_ms=40.0, cells=())
    statics = None
    if profile_path is not None:
        profile = read_profile(profile_path)
        measurement, statics = measurement_of(profile.profile, gpu_product), profile.statics
    reference = packaged_reference().given(statics)
    if target_percent is None and not measurement.cells:
        cells = first_plan(reference, most)
    else:
        cells = next_cells(reference, measurement, most=most, target_percent=target_percent or 0.0)
    text = _csv(cells)
    if str(output) == "-":
        click.echo(text, nl=False)
    else:
        output.write_text(text)
    price_s = sum(cell.price_s for cell in cells)
    click.echo(f"{len(cells)} cells, about {price_s:.0f} s of one GPU", err=True)


def _csv(cells: tuple[PlannedCell, ...]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["batch", "sm", "quota", "price_s"])
    writer.writerows([cell.batch, cell.sm, cell.quota, f"{cell.price_s:.2f}"] for cell in cells)
    return text.getvalue()
