"""The leader's GPU class on a cluster of one GPU node."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.autoscaler.gpu_cluster import GpuCluster, gpu_cluster


@pytest.fixture
def cluster() -> Iterator[GpuCluster]:
    """With a profile, and no revision yet."""
    with gpu_cluster() as found:
        found.add_node()
        found.add_profile()
        yield found
