"""Programs in C that tests and benches run, built where they are not up to date."""

from __future__ import annotations

import subprocess
from pathlib import Path


def make(folder: Path) -> None:
    """Runs the folder's default target; one at a time, since each worker of a test run asks for the same one."""
    subprocess.run(["flock", folder, "make", "-s", "-C", folder], check=True, capture_output=True)
