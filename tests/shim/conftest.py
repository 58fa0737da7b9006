"""Fixtures of the shim's tests: what is built, and a bench per test."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from e2e.dataplane.bench import Bench, build


@pytest.fixture(scope="session")
def built() -> None:
    """Shim, driver double and the programs of the tests, up to date."""
    build()


@pytest.fixture
def bench(built: None) -> Iterator[Bench]:
    """An emulated GPU of the test's own; as root its clients run first, so that a busy machine does not fail them."""
    made = Bench(ahead=os.geteuid() == 0)
    yield made
    made.close()
