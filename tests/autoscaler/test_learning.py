"""The leader's pass against an API server and an agent: what traffic teaches of a model, and what comes of it."""

from __future__ import annotations

import math

import pytest

from tests.autoscaler.gpu_cluster import PAS, GpuCluster


def test_a_missing_profile_is_told_and_the_pod_starts_at_its_upper_bound(cluster: GpuCluster) -> None:
    _, pod = cluster.serving(profile="unknown", time_quota="10%-80%")
    assert cluster.quota(pod) == 80
    assert "ProfileMissing" in cluster.told()


def test_a_service_without_a_profile_learns_from_its_own_traffic(cluster: GpuCluster) -> None:
    revision, pod = cluster.serving(profile="unknown")
    assert cluster.quota(pod) == 100
    for second in range(20):
        cluster.busy_ns[pod] = 10_000_000 * 5 * second
        cluster.loaded(revision, 5.0, 20.0 + second, seconds=1)
    (share,) = cluster.gpu_class._book.served()["ns", "unknown"]["Emulated-V100"].shares
    assert math.exp(share.log_work) == pytest.approx(0.010, rel=0.2)
    assert cluster.quota(pod) < 100


def test_what_was_learnt_of_a_service_goes_with_its_last_revision(cluster: GpuCluster) -> None:
    revision, pod = cluster.serving(profile="unknown")
    for second in range(20):
        cluster.busy_ns[pod] = 10_000_000 * 5 * second
        cluster.loaded(revision, 5.0, 20.0 + second, seconds=1)
    assert ("ns", "unknown") in cluster.gpu_class._book.served()
    cluster.api.delete(f"{PAS}/classify-00001")
    cluster.tick(41.0)
    assert cluster.gpu_class._book.served() == {}


def test_a_profile_that_says_too_little_heals_from_traffic(cluster: GpuCluster) -> None:
    """20 ms at 20 % is what the profile says and 40 ms what requests take: about twice the quota in the end."""
    revision, pod = cluster.serving()
    quotas = []
    for second in range(60):
        cluster.busy_ns[pod] = 40_000_000 * 5 * second
        cluster.loaded(revision, 5.0, 20.0 + second, seconds=1)
        quotas.append(cluster.quota(pod))
    assert quotas[-1] > 1.5 * min(quotas[:20])
