"""A row of the bench as a line of JSON: shown, and added to a file where one is named."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click


def tell(row: Any, out: Path | None, digits: int = 2) -> None:
    """``row`` is a dataclass; its floats are rounded for a reader."""
    shown = {name: round(value, digits) if isinstance(value, float) else value for name, value in asdict(row).items()}
    line = json.dumps({"at": datetime.now(UTC).isoformat(timespec="minutes"), **shown})
    click.echo(line)
    if out is not None:
        with out.open("a") as file:
            file.write(line + "\n")
