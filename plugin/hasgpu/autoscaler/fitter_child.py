"""Process autoscaler: runs the fitter as a short-lived child, since what it loads has no place in a serving process."""

from __future__ import annotations

import os
import subprocess
import sys

import msgspec

TIMEOUT_S = 60.0
_ONE_CORE = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def run_fitter(order: bytes) -> bytes:
    """The fitter's answer, or one that says what became of it."""
    command = (sys.executable, "-m", "hasgpu.fitter", "fit")
    try:
        done = subprocess.run(
            command, input=order, capture_output=True, timeout=TIMEOUT_S, env={**os.environ, **_ONE_CORE}, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return _problem(str(error))
    if done.returncode != 0:
        return _problem(f"the fitter ended with {done.returncode}: {done.stderr.decode(errors='replace')[-500:]}")
    return done.stdout


def _problem(text: str) -> bytes:
    return msgspec.json.encode({"problem": text})
