"""The bed's own kubectl, spoken to as an administrator would. It may not know what it applies."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from e2e.testbed.paths import BIN, KUBECONFIG
from e2e.testbed.shell import CommandError, run


def kubectl(*arguments: str, stdin: str | None = None, check: bool = True) -> str:
    return run(str(BIN / "kubectl"), f"--kubeconfig={KUBECONFIG}", *arguments, stdin=stdin, check=check)


def read(*arguments: str) -> dict[str, Any]:
    """One object or list, as JSON."""
    document: dict[str, Any] = json.loads(kubectl("get", *arguments, "-o", "json"))
    return document


def apply(files: Sequence[Path], within_s: float = 30.0) -> None:
    """Server-side apply, repeated while the cluster is still learning kinds or starting webhooks."""
    arguments = [f"--filename={file}" for file in files]
    deadline = time.monotonic() + within_s
    while True:
        try:
            kubectl("apply", "--server-side", "--force-conflicts", "--field-manager=hasgpu-testbed", *arguments)
            return
        except CommandError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.3)


def wait(*arguments: str, within_s: float = 60.0) -> None:
    """kubectl wait, repeated: it fails at once for an object that is not there or has no condition yet."""
    deadline = time.monotonic() + within_s
    while True:
        left_s = max(1, int(deadline - time.monotonic()))
        try:
            kubectl("wait", f"--timeout={left_s}s", *arguments)
            return
        except CommandError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
