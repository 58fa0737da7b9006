"""Work without its requests, or requests without their work, teach nothing: what is not heard is not known."""

from __future__ import annotations

import math

import pytest
from hasgpu.model.keys import RevisionKey
from hasgpu.model.report import NodeReport

from tests.autoscaler.gpu_cluster import PODS, GpuCluster

WORK_MS, RATE = 20, 10.0


def serving(cluster: GpuCluster, *nodes: str) -> tuple[RevisionKey, dict[str, str]]:
    """A revision without a profile that has a ready pod on each node; the pods by their names."""
    revision = cluster.add_revision(replicas=len(nodes), annotations={"profile": "taught"})
    pods = {cluster.add_pod(profile="taught"): node for node in nodes}
    cluster.acknowledge(10.0)
    cluster.tick(10.0)
    for pod in pods:
        cluster.ready(pod)
    return revision, pods


def second(
    cluster: GpuCluster,
    revision: RevisionKey,
    pods: dict[str, str],
    now: float,
    *,
    silent: frozenset[str] = frozenset(),
) -> None:
    """All pods serve alike; agents of silent nodes say nothing of it."""
    for pod in pods:
        cluster.busy_ns[pod] = cluster.busy_ns.get(pod, 0) + int(WORK_MS * 1e6 * RATE / len(pods))
    for node in set(pods.values()) - silent:
        mine = [each for each in cluster.api.list(PODS) if pods.get(each["metadata"]["name"]) == node]
        reports = tuple(cluster._report(each, alive=True) for each in mine)
        cluster.reports.put(NodeReport(node=node, revision=int(now), pods=reports), now)
    if cluster.all_connected:
        cluster.gpu_class.on_stats(cluster.load(revision, RATE), now)
    cluster.tick(now)


def taught_ms(cluster: GpuCluster) -> list[float]:
    shares = cluster.gpu_class._book.served()["ns", "taught"]["Emulated-V100"].shares
    return [1000.0 * math.exp(share.log_work) for share in shares]


def test_what_the_gpu_did_while_activators_were_away_is_nobodys_request(cluster: GpuCluster) -> None:
    revision, pods = serving(cluster, "node-1")
    for now in range(11, 80):
        cluster.all_connected = now < 30 or now % 20 < 10
        second(cluster, revision, pods, float(now))
    assert taught_ms(cluster) == pytest.approx([WORK_MS], rel=0.01)


def test_a_pod_that_is_heard_is_not_charged_with_the_requests_of_one_that_is_not(cluster: GpuCluster) -> None:
    revision, pods = serving(cluster, "node-1", "node-2")
    for now in range(11, 80):
        silent = frozenset({"node-2"} if now % 40 >= 30 else ())
        second(cluster, revision, pods, float(now), silent=silent)
    assert taught_ms(cluster) == pytest.approx([WORK_MS], rel=0.01)


def test_a_pod_that_no_agent_ever_told_of_lets_the_others_teach_nothing(cluster: GpuCluster) -> None:
    revision, pods = serving(cluster, "node-1", "node-2")
    for now in range(11, 40):
        second(cluster, revision, pods, float(now), silent=frozenset({"node-2"}))
    assert ("ns", "taught") not in cluster.gpu_class._book.served()
