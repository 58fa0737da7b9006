"""The leader's pass against an API server and an agent: placing pods that wait, and making room for them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hasgpu.model.report import NodeReport

from tests.autoscaler.gpu_cluster import DEPLOYMENTS, PODS, GpuCluster


def test_a_waiting_pod_gets_slice_node_and_no_gate_in_one_patch(cluster: GpuCluster) -> None:
    _, pod = cluster.serving()
    placed = cluster.pod(pod)
    assert cluster.slice_of(pod)["gpu"] == "GPU-a"
    assert cluster.slice_of(pod)["sm-partition"] == "20"
    assert cluster.slice_of(pod)["gpu-memory"] == str(1 << 30)
    assert placed["spec"]["nodeSelector"] == {"kubernetes.io/hostname": "host-1"}
    assert placed["spec"]["schedulingGates"] == []
    assert placed["metadata"]["resourceVersion"]
    assert "SlicePlaced" in cluster.told()


def test_a_pod_without_room_waits_and_says_why(cluster: GpuCluster) -> None:
    cluster.add_revision()
    pod = cluster.add_pod(gpu_memory="32Gi")
    cluster.acknowledge(100.0)
    cluster.tick(100.0)
    cluster.api.merge(f"{PODS}/{pod}", {"metadata": {"creationTimestamp": "1970-01-01T00:00:10Z"}})
    cluster.tick(102.0)
    assert cluster.slice_of(pod) == {}
    assert "NoRoom" in cluster.told()


def test_a_gpu_whose_agent_is_silent_takes_no_pod(cluster: GpuCluster) -> None:
    cluster.add_revision()
    pod = cluster.add_pod()
    cluster.acknowledge(100.0)
    cluster.tick(111.0)
    assert cluster.slice_of(pod) == {}


def test_a_pod_of_fixed_scaling_is_placed_with_exactly_its_quota(cluster: GpuCluster) -> None:
    pod = cluster.add_pod("fixed-00001", scaling="fixed", time_quota="30%")
    cluster.acknowledge(100.0)
    cluster.tick(100.0)
    assert cluster.quota(pod) == 30


def wait_for_half_a_gpu(cluster: GpuCluster, *quotas: int) -> list[str]:
    """Pods with so much of a row's time each that wait in one look."""
    waiting = [
        cluster.add_pod(f"fixed{number}-00001", scaling="fixed", sm_partition="50%", time_quota=f"{quota}%")
        for number, quota in enumerate(quotas)
    ]
    cluster.acknowledge(100.0)
    return waiting


def test_of_pods_that_wait_together_the_largest_is_placed_first(cluster: GpuCluster) -> None:
    waiting = wait_for_half_a_gpu(cluster, 30, 30, 70, 70)
    cluster.tick(100.0)
    assert all(cluster.slice_of(pod) for pod in waiting)


def test_a_more_important_pod_is_placed_before_a_larger_one(cluster: GpuCluster) -> None:
    *_, small, large = wait_for_half_a_gpu(cluster, 90, 40, 70)
    cluster.api.merge(f"{PODS}/{small}", {"spec": {"priority": 5}})
    cluster.tick(100.0)
    assert (cluster.quota(small), cluster.slice_of(large)) == (40, {})


def whole_gpu_taken(cluster: GpuCluster) -> str:
    """A pod that holds all of the only GPU, as its agent knows."""
    pod = cluster.add_pod("old-00001", scaling="fixed", sm_partition="100%", time_quota="100%")
    cluster.acknowledge(10.0)
    cluster.tick(10.0)
    cluster.acknowledge(11.0)
    return pod


def test_a_terminating_pod_holds_its_room_until_its_agent_saw_it_go(cluster: GpuCluster) -> None:
    old = whole_gpu_taken(cluster)
    cluster.api.merge(f"{PODS}/{old}", {"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}})
    new = cluster.add_pod("new-00001", scaling="fixed", sm_partition="100%", time_quota="50%")
    cluster.tick(12.0)
    assert cluster.slice_of(new) == {}
    cluster.acknowledge(13.0, alive=lambda name: name != old)
    cluster.tick(13.0)
    assert cluster.quota(new) == 50


def test_a_pod_object_that_vanished_is_counted_while_its_agent_still_sees_it(cluster: GpuCluster) -> None:
    old = whole_gpu_taken(cluster)
    cluster.api.delete(f"{PODS}/{old}")
    new = cluster.add_pod("new-00001", scaling="fixed", sm_partition="100%", time_quota="50%")
    cluster.tick(12.0)
    assert cluster.slice_of(new) == {}


def test_a_new_revision_takes_its_predecessors_quota_once_the_shrink_is_acknowledged(cluster: GpuCluster) -> None:
    revision, old = cluster.serving(sm_partition="100%")
    now = cluster.loaded(revision, 30.0, 20.0)
    assert cluster.quota(old) > 30
    cluster.add_revision("classify-00002", annotations={"sm_partition": "100%", "time_quota": "70%-100%"})
    new = cluster.add_pod("classify-00002", sm_partition="100%", time_quota="70%-100%")
    cluster.hear_nothing_new(now)
    cluster.tick(now)
    assert cluster.quota(old) == 5
    assert cluster.slice_of(new) == {}
    cluster.acknowledge(now + 1)
    cluster.tick(now + 1)
    assert cluster.quota(new) >= 70


def test_a_deposed_leader_writes_nothing(cluster: GpuCluster) -> None:
    cluster.add_revision()
    pod = cluster.add_pod()
    cluster.acknowledge(10.0)
    cluster.leading = False
    cluster.tick(10.0)
    assert cluster.slice_of(pod) == {}


def test_two_allocators_at_once_never_over_commit_a_row(cluster: GpuCluster) -> None:
    """Both believe to lead. Each write is guarded, so the worst is a refused patch."""
    for number in range(6):
        cluster.add_pod(f"fixed-0000{number}", scaling="fixed", sm_partition="100%", time_quota="30%")
    cluster.acknowledge(10.0)
    cluster.settle()
    rival = cluster.make_class()
    rival.lead(True, 0.0)
    for turn in range(4):
        now = 10.0 + turn
        for allocator in (cluster.gpu_class, rival):
            cluster.settle()
            allocator.tick(now)
        cluster.acknowledge(now)
    placed = [each["metadata"]["annotations"] for each in cluster.api.list(PODS)]
    quotas = [int(each.get("slice.hasgpu.dev/time-quota", "0")) for each in placed]
    assert sum(quotas) == 90


def test_room_that_an_unanswered_write_may_have_given_is_given_to_nobody_else(cluster: GpuCluster) -> None:
    first = cluster.add_pod("fixed-00001", scaling="fixed", sm_partition="100%", time_quota="60%")
    cluster.acknowledge(10.0)
    cluster.api.fail_next("PATCH", first, 504)
    cluster.tick(10.0)
    second = cluster.add_pod("fixed-00002", scaling="fixed", sm_partition="100%", time_quota="60%")
    cluster.acknowledge(11.0)
    cluster.tick(11.0)
    assert "gpu" not in cluster.slice_of(second)
    cluster.acknowledge(26.0)
    cluster.tick(26.0)
    assert cluster.quota(first) == 60, "the write was not made, and after a while it is tried again"
    assert "gpu" not in cluster.slice_of(second)


def test_where_only_memory_is_full_one_predecessor_leaves_after_a_while(cluster: GpuCluster) -> None:
    revision, first = cluster.serving(gpu_memory="8Gi", sm_partition="20%")
    cluster.api.merge(f"{DEPLOYMENTS}/classify-00001-deployment", {"spec": {"replicas": 2}})
    second = cluster.add_pod(gpu_memory="8Gi")
    cluster.tick(11.0)
    cluster.ready(second)
    cluster.acknowledge(12.0)
    cluster.add_revision("classify-00002", annotations={"gpu_memory": "8Gi"})
    new = cluster.add_pod("classify-00002", gpu_memory="8Gi")
    cluster.api.merge(f"{PODS}/{new}", {"metadata": {"creationTimestamp": "1970-01-01T00:00:20Z"}})
    cluster.acknowledge(45.0)
    cluster.tick(45.0)
    assert len(cluster.api.list(PODS)) == 3
    cluster.acknowledge(51.0)
    cluster.tick(51.0)
    assert len(cluster.api.list(PODS)) == 2
    assert "Replaced" in cluster.told()
    assert revision in cluster.gpu_class._records
    assert {first, second} & {each["metadata"]["name"] for each in cluster.api.list(PODS)}


def test_a_placed_pod_that_its_node_cannot_take_is_deleted_and_its_node_avoided(cluster: GpuCluster) -> None:
    cluster.add_revision()
    pod = cluster.add_pod()
    cluster.acknowledge(10.0)
    cluster.tick(10.0)
    unschedulable = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": "0/1 nodes are available: 1 Insufficient cpu.",
        "lastTransitionTime": "1970-01-01T00:00:11Z",
    }
    cluster.api.merge(f"{PODS}/{pod}", {"status": {"conditions": [unschedulable]}})
    cluster.acknowledge(22.0)
    cluster.tick(22.0)
    assert cluster.api.get(f"{PODS}/{pod}") is None
    again = cluster.add_pod()
    cluster.reports.put(NodeReport(node="node-1", revision=99, pods=()), 23.0)
    cluster.tick(23.0)
    assert cluster.slice_of(again) == {}
    cluster.hear_nothing_new(60.0)
    cluster.tick(60.0)
    assert cluster.slice_of(again) != {}


def test_a_plan_for_a_gpu_whose_agent_fell_silent_is_not_followed(cluster: GpuCluster) -> None:
    revision, _ = cluster.serving()
    cluster.loaded(revision, 60.0, 20.0)
    second = cluster.add_pod()
    cluster.tick(34.5)
    assert cluster.slice_of(second) == {}


@pytest.mark.parametrize(
    "said",
    [
        pytest.param("\u00b2", id="a digit that is no number"),
        pytest.param("9" * 5000, id="a number without end"),
        pytest.param("none", id="no number"),
    ],
)
def test_whatever_a_user_writes_on_a_placed_pod_the_others_are_placed(cluster: GpuCluster, said: str) -> None:
    _, pod = cluster.serving()
    cluster.api.merge(f"{PODS}/{pod}", {"metadata": {"annotations": {"hasgpu.dev/gpu-processes": said}}})
    other = cluster.add_pod("fixed-00001", scaling="fixed", time_quota="30%")
    cluster.tick(11.0)
    assert cluster.quota(other) == 30


def test_a_pod_that_the_server_will_not_change_keeps_no_other_waiting(cluster: GpuCluster) -> None:
    refused = cluster.add_pod("first-00001", scaling="fixed", time_quota="30%")
    other = cluster.add_pod("other-00001", scaling="fixed", time_quota="30%")
    cluster.acknowledge(10.0)
    cluster.api.fail_next("PATCH", f"/pods/{refused}", 500, "AnotherWebhookIsDown")
    cluster.tick(10.0)
    assert cluster.slice_of(refused) == {}
    assert cluster.quota(other) == 30


def test_a_report_that_makes_no_sense_is_counted_and_stops_nobody(cluster: GpuCluster) -> None:
    pod = cluster.add_pod("fixed-00001", scaling="fixed", time_quota="30%")
    cluster.acknowledge(10.0)
    cluster.tick(10.0)
    cluster.acknowledge(11.0)
    (report,) = cluster.reports.snapshot()["node-1"][0].pods
    strange = replace(report, pod_uid="gone", quota_percent=3, sm_percent=900, row=1)
    cluster.reports.put(NodeReport(node="node-1", revision=9, pods=(report, strange)), 12.0)
    other = cluster.add_pod("other-00001", scaling="fixed", time_quota="30%")
    cluster.tick(12.0)
    assert cluster.slice_of(pod) != {}
    assert cluster.slice_of(other) == {} or cluster.slice_of(other)["row"] == "0"
