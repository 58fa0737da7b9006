"""Builds the doubles and gives each test a node of its own, in memory."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.built import make
from tests.emulated_gpu.node import BUILD, Node


@pytest.fixture(scope="session", autouse=True)
def built() -> None:
    make(BUILD.parent)


@pytest.fixture
def node() -> Iterator[Node]:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:  # short too: a socket's path has 108 bytes
        node = Node(Path(folder))
        node.tool("create", "--gpus", "2", "--log-entries", "65536", "--mps-clients", "3")
        yield node
        node.close()
