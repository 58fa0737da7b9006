"""The leader's GPU class on a cluster of one GPU node; and its profiles alone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.autoscaler.gpu_cluster import GpuCluster, gpu_cluster
from tests.autoscaler.profile_leader import Leader
from tests.cluster.fake_api import FakeApi


@pytest.fixture
def cluster() -> Iterator[GpuCluster]:
    """With a profile, and no revision yet."""
    with gpu_cluster() as found:
        found.add_node()
        found.add_profile()
        yield found


@pytest.fixture
def leader() -> Iterator[Leader]:
    """Without any profile yet."""
    with FakeApi() as api:
        found = Leader(api)
        yield found
        found.profiles.stop()
