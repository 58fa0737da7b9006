"""The pinned wheels of the images, renewed from what this checkout's environment was tested with.

It may not install anything.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from e2e.testbed import workshop
from e2e.testbed.paths import CONSTRAINTS
from e2e.testbed.shell import run

EXTRAS = ("webhook", "autoscaler", "node")
_HEADER = "# The exact version of every wheel in this project's images; `python -m e2e.testbed pin` renews it.\n"


def renew() -> None:
    """Resolve every image's requirements, preferring the versions installed here."""
    frozen = run(sys.executable, "-m", "pip", "freeze", "--exclude-editable")
    wanted = sorted({requirement for extra in EXTRAS for requirement in workshop.requirements(extra)})
    with tempfile.TemporaryDirectory() as folder:
        preferred, report = Path(folder, "preferred.txt"), Path(folder, "report.json")
        preferred.write_text("".join(f"{line}\n" for line in frozen.splitlines() if "==" in line))
        options = ("--quiet", "--dry-run", "--ignore-installed", "--only-binary=:all:")
        run(
            *(sys.executable, "-m", "pip", "install", *options),
            *(f"--report={report}", f"--constraint={preferred}", *wanted),
        )
        found = json.loads(report.read_text())["install"]
    pins = sorted(f"{item['metadata']['name']}=={item['metadata']['version']}".lower() for item in found)
    CONSTRAINTS.write_text(_HEADER + "".join(f"{pin}\n" for pin in pins))
