"""Fixtures of the shim's tests: what is built, and a bench per test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from e2e.dataplane.bench import Bench, build


@pytest.fixture(scope="session")
def built() -> None:
    """Shim, driver double and the programs of the tests, up to date."""
    build()


@pytest.fixture
def bench(built: None) -> Iterator[Bench]:
    """An emulated GPU of the test's own."""
    made = Bench()
    yield made
    made.close()
