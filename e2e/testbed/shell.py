"""Short commands of the host: run one to its end and hear what it said. It may not keep state."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence


class CommandError(RuntimeError):
    """A command failed; the message holds the command and its last words."""


def run(
    *command: str,
    check: bool = True,
    stdin: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> str:
    """Standard output of a command; CommandError where it fails and `check` is set."""
    try:
        result = subprocess.run(
            command,
            input=stdin,
            stdin=None if stdin is not None else subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env={**os.environ, **(environment or {})},
        )
    except FileNotFoundError as error:
        raise CommandError(f"{error.filename} is not installed") from error
    if check and result.returncode != 0:
        said = (result.stderr or result.stdout).strip()[-2000:]
        raise CommandError(f"{' '.join(command[:6])} ended with {result.returncode}: {said}")
    return result.stdout


def succeeds(command: Sequence[str]) -> bool:
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True).returncode == 0
