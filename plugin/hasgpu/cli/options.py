"""Process cli: kinds of values that click has not. Imports nothing heavy: `--help` answers within 100 ms."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import click


class Figure(click.FloatRange):
    """A number within bounds. Not a number is within none, and endless is no figure."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number."""
        figure = float(super().convert(value, param, ctx))
        if not math.isfinite(figure):
            self.fail(f"{value!r} is not a number.", param, ctx)
        return figure


class OutputFile(click.Path):
    """A file that can be written, or `-`: known before the work whose result goes there."""

    def __init__(self) -> None:
        super().__init__(dir_okay=False, writable=True, path_type=Path, allow_dash=True)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """The path."""
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        folder = path.parent
        if not folder.is_dir():
            self.fail(f"folder '{folder}' is not there.", param, ctx)
        if not os.access(folder, os.W_OK):
            self.fail(f"folder '{folder}' can't be written to.", param, ctx)
        return path
