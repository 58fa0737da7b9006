"""Fixtures of the shim's tests: what is built, and a bench per test."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.shim.bench import ROOT, Bench


@pytest.fixture(scope="session")
def client() -> Path:
    """The test program; builds shim and driver double where they are not up to date."""
    for folder in (ROOT / "plugin" / "shim", ROOT / "e2e" / "emulated_gpu"):
        subprocess.run(["make", "-s", "-C", folder], check=True, capture_output=True)
    program = ROOT / "plugin" / "shim" / "build" / "client"
    source = Path(__file__).with_name("client.c")
    if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
        subprocess.run(["gcc", "-O2", "-o", program, source, "-ldl"], check=True)
    return program


@pytest.fixture
def bench(client: Path) -> Iterator[Bench]:
    """Lives on tmpfs, as the pages do on a node."""
    folder = Path(tempfile.mkdtemp(prefix="hasgpu-shim-", dir="/dev/shm"))
    made = Bench(folder, client)
    yield made
    made.close()
    shutil.rmtree(folder)
