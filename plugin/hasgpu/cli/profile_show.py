"""Process cli: draws a profile in the terminal: latency over SM share and time quota, measured cells marked."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import click
import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from hasgpu.fitter.reference_file import packaged_reference
from hasgpu.model.profile import Gate, Measurement
from hasgpu.prediction.cells import GRID_BATCHES, Points, product_of
from hasgpu.prediction.rapp import RappTable, fit_rapp
from hasgpu.simulator.profile_file import read_profile

from .profile_file import measurement_of

_SMS = (5, 10, 15, 20, 30, 40, 50, 60, 80, 100)
_QUOTAS = (10, 20, 30, 40, 50, 60, 70, 80, 90, 100)
_COLOURS = ("#2166ac", "#4393c3", "#92c5de", "#d1e5f0", "#fddbc7", "#f4a582", "#d6604d", "#b2182b")
"""From fast to slow; told apart by everyone."""
_MARK = "●"


def draw(profile_path: Path, gpu_product: str | None, batches: tuple[int, ...], gate: str | None) -> None:
    """One table for each batch on standard output."""
    profile = read_profile(profile_path)
    measurement = measurement_of(profile.profile, gpu_product)
    shown = batches or tuple(sorted({cell.batch for cell in measurement.cells})) or GRID_BATCHES
    wanted = cast("Gate | None", gate) or measurement.gate
    points = product_of(shown, _SMS, _QUOTAS)
    table = fit_rapp(packaged_reference(), measurement, statics=profile.statics, at=points)
    console = Console()
    click.echo(
        f"{profile.profile.model or profile.profile.name} on {measurement.gpu_product}: milliseconds of one inference "
        f"under the {wanted} gate, {_MARK} measured, {len(measurement.cells)} cells"
    )
    for batch in shown:
        console.print(_picture(table, measurement, batch, wanted))


def _picture(table: RappTable, measurement: Measurement, batch: int, gate: Gate) -> Table:
    picture = Table(title=f"batch {batch}", title_justify="left", show_edge=False, pad_edge=False, box=None)
    picture.add_column("SM %", justify="right", no_wrap=True)
    for quota in _QUOTAS:
        picture.add_column(f"{quota} %", justify="right", no_wrap=True)
    measured = {(c.sm_percent, c.quota_percent) for c in measurement.cells if c.batch == batch}
    at: Points = product_of((batch,), _SMS, _QUOTAS)
    prediction = table.predict(at, gate)
    latency_ms = 1000.0 * prediction.latency_s.reshape(len(_SMS), len(_QUOTAS))
    order = np.log(latency_ms)
    part = (order - order.min()) / max(float(np.ptp(order)), 1e-9)
    for row, sm in enumerate(_SMS):
        cells = [
            Text(
                f"{_digits(latency_ms[row, column])}{_MARK if (sm, quota) in measured else ' '}",
                style=f"bold {_COLOURS[min(int(part[row, column] * len(_COLOURS)), len(_COLOURS) - 1)]}",
            )
            for column, quota in enumerate(_QUOTAS)
        ]
        picture.add_row(Text(f"{sm}"), *cells)
    return picture


def _digits(latency_ms: float) -> str:
    """Three digits, so that ten columns fit a terminal."""
    return f"{latency_ms:.0f}" if latency_ms >= 100.0 else f"{latency_ms:.3g}"
