"""The leader's pass against an API server and an agent: placing, resizing, scaling, waiting, taking over."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hasgpu.model.keys import RevisionKey
from hasgpu.model.report import NodeReport

from tests.autoscaler.gpu_cluster import DEPLOYMENTS, PAS, PODS, GpuCluster, gpu_cluster


@pytest.fixture
def cluster() -> Iterator[GpuCluster]:
    with gpu_cluster() as found:
        found.add_node()
        found.add_profile()
        yield found


def tick(cluster: GpuCluster, now: float) -> None:
    cluster.settle()
    cluster.gpu_class.tick(now)


def serving(cluster: GpuCluster, now: float = 10.0, **annotations: str) -> tuple[RevisionKey, str]:
    """A revision with one ready pod whose slice is live."""
    revision = cluster.add_revision(annotations=annotations)
    pod = cluster.add_pod(**annotations)
    cluster.acknowledge(now)
    tick(cluster, now)
    cluster.ready(pod)
    cluster.acknowledge(now)
    return revision, pod


def loaded(cluster: GpuCluster, revision: RevisionKey, rate: float, start: float, seconds: int = 5) -> float:
    """Seconds of load, each followed by a tick and the agent's acknowledgement; the time after it."""
    for second in range(seconds):
        now = start + second
        cluster.gpu_class.on_stats(cluster.load(revision, rate), now)
        tick(cluster, now)
        cluster.acknowledge(now)
    return start + seconds


def wanted(cluster: GpuCluster, revision: RevisionKey) -> int:
    return cluster.gpu_class._wanted[revision]


def test_a_waiting_pod_gets_slice_node_and_no_gate_in_one_patch(cluster: GpuCluster) -> None:
    _, pod = serving(cluster)
    placed = cluster.pod(pod)
    assert cluster.slice_of(pod)["gpu"] == "GPU-a"
    assert cluster.slice_of(pod)["sm-partition"] == "20"
    assert cluster.slice_of(pod)["gpu-memory"] == str(1 << 30)
    assert placed["spec"]["nodeSelector"] == {"kubernetes.io/hostname": "host-1"}
    assert placed["spec"]["schedulingGates"] == []
    assert placed["metadata"]["resourceVersion"]
    assert "SlicePlaced" in cluster.told()


def test_load_raises_the_quota_of_the_running_pod(cluster: GpuCluster) -> None:
    revision, pod = serving(cluster)
    before = cluster.quota(pod)
    loaded(cluster, revision, 12.0, 20.0)
    assert cluster.quota(pod) > before
    assert int(cluster.slice_of(pod)["generation"]) >= 2
    said = [words for reason, words in cluster.told_words() if reason == "TimeQuotaChanged"]
    assert any(re.search(rf"{pod} {before} -> \d+ % \(.*\bquota\b.*\)$", words) for words in said), said


def test_the_quota_is_raised_with_the_first_stat_that_shows_the_load(cluster: GpuCluster) -> None:
    revision, pod = serving(cluster)
    before = cluster.quota(pod)
    cluster.gpu_class.on_stats(cluster.load(revision, 15.0), 20.0)
    tick(cluster, 20.0)
    assert cluster.quota(pod) > before


def test_in_rows_that_lend_small_quotas_carry_the_load_and_the_rest_of_the_row_is_nobodys(cluster: GpuCluster) -> None:
    cluster.settings.put("config-hasgpu", {"row-policy": "borrow", "lent-percent": "80"})
    revision, pod = serving(cluster)
    now = loaded(cluster, revision, 12.0, 20.0)
    assert 5 <= cluster.quota(pod) <= 20
    assert wanted(cluster, revision) == 1
    loaded(cluster, revision, 60.0, now)
    assert cluster.quota(pod) == 20
    assert wanted(cluster, revision) >= 2


def test_load_that_goes_lets_the_quota_fall(cluster: GpuCluster) -> None:
    revision, pod = serving(cluster)
    now = loaded(cluster, revision, 12.0, 20.0)
    high = cluster.quota(pod)
    loaded(cluster, revision, 1.0, now, seconds=15)
    assert cluster.quota(pod) < high


def test_what_the_row_cannot_give_becomes_a_second_pod_with_its_plan(cluster: GpuCluster) -> None:
    revision, first = serving(cluster)
    now = loaded(cluster, revision, 60.0, 20.0)
    assert wanted(cluster, revision) >= 2
    assert revision in cluster.enqueued
    second = cluster.add_pod()
    tick(cluster, now)
    assert cluster.slice_of(second)["row"] != cluster.slice_of(first)["row"]


def test_an_idle_revision_wants_no_pods_after_its_window(cluster: GpuCluster) -> None:
    revision, _ = serving(cluster)
    now = loaded(cluster, revision, 5.0, 20.0)
    cluster.hear_nothing_new(now + 30)
    tick(cluster, now + 30)
    assert wanted(cluster, revision) == 1
    cluster.hear_nothing_new(now + 61)
    tick(cluster, now + 61)
    assert wanted(cluster, revision) == 0


def test_a_revision_at_zero_stays_there_though_its_last_pod_is_gone_and_the_leader_new(cluster: GpuCluster) -> None:
    revision, pod = serving(cluster)
    now = loaded(cluster, revision, 5.0, 20.0) + 61
    cluster.hear_nothing_new(now)
    tick(cluster, now)
    cluster.api.merge(f"{DEPLOYMENTS}/classify-00001-deployment", {"spec": {"replicas": 0}})
    cluster.api.delete(f"{PODS}/{pod}")
    tick(cluster, now + 1)
    assert wanted(cluster, revision) == 0
    cluster.gpu_class.lead(True, now + 2)
    tick(cluster, now + 10)
    assert wanted(cluster, revision) == 0


def test_a_revision_at_zero_wakes_with_its_first_request(cluster: GpuCluster) -> None:
    revision = cluster.add_revision(replicas=0)
    cluster.acknowledge(100.0)
    cluster.gpu_class.on_stats(cluster.load(revision, 1.0, in_flight=1.0), 100.0)
    tick(cluster, 100.0)
    assert wanted(cluster, revision) == 1


def test_scale_in_marks_its_victim_and_waits_to_see_the_mark(cluster: GpuCluster) -> None:
    revision, first = serving(cluster)
    cluster.api.merge(f"{DEPLOYMENTS}/classify-00001-deployment", {"spec": {"replicas": 2}})
    second = cluster.add_pod()
    tick(cluster, 11.0)
    cluster.ready(second)
    now = loaded(cluster, revision, 1.0, 20.0, seconds=1)
    while wanted(cluster, revision) == 2 and now < 90.0:
        now = loaded(cluster, revision, 1.0, now, seconds=1)
    marked = [
        name
        for name in (first, second)
        if "controller.kubernetes.io/pod-deletion-cost" in cluster.pod(name)["metadata"]["annotations"]
    ]
    assert wanted(cluster, revision) == 1
    assert len(marked) == 1


def test_a_pod_without_room_waits_and_says_why(cluster: GpuCluster) -> None:
    cluster.add_revision()
    pod = cluster.add_pod(gpu_memory="32Gi")
    cluster.acknowledge(100.0)
    tick(cluster, 100.0)
    cluster.api.merge(f"{PODS}/{pod}", {"metadata": {"creationTimestamp": "1970-01-01T00:00:10Z"}})
    tick(cluster, 102.0)
    assert cluster.slice_of(pod) == {}
    assert "NoRoom" in cluster.told()


def test_a_gpu_whose_agent_is_silent_takes_no_pod(cluster: GpuCluster) -> None:
    cluster.add_revision()
    pod = cluster.add_pod()
    cluster.acknowledge(100.0)
    tick(cluster, 111.0)
    assert cluster.slice_of(pod) == {}


def test_a_pod_of_fixed_scaling_is_placed_with_exactly_its_quota(cluster: GpuCluster) -> None:
    pod = cluster.add_pod("fixed-00001", scaling="fixed", time_quota="30%")
    cluster.acknowledge(100.0)
    tick(cluster, 100.0)
    assert cluster.quota(pod) == 30


def test_a_missing_profile_is_told_and_the_pod_starts_at_its_upper_bound(cluster: GpuCluster) -> None:
    _, pod = serving(cluster, profile="unknown", time_quota="10%-80%")
    assert cluster.quota(pod) == 80
    assert "ProfileMissing" in cluster.told()


def test_a_service_without_a_profile_learns_from_its_own_traffic(cluster: GpuCluster) -> None:
    revision, pod = serving(cluster, profile="unknown")
    assert cluster.quota(pod) == 100
    for second in range(20):
        cluster.busy_ns[pod] = 10_000_000 * 5 * second
        loaded(cluster, revision, 5.0, 20.0 + second, seconds=1)
    (share,) = cluster.gpu_class._book.served()["ns", "unknown"]["Emulated-V100"].shares
    assert math.exp(share.log_work) == pytest.approx(0.010, rel=0.2)
    assert cluster.quota(pod) < 100


def test_what_was_learnt_of_a_service_goes_with_its_last_revision(cluster: GpuCluster) -> None:
    revision, pod = serving(cluster, profile="unknown")
    for second in range(20):
        cluster.busy_ns[pod] = 10_000_000 * 5 * second
        loaded(cluster, revision, 5.0, 20.0 + second, seconds=1)
    assert ("ns", "unknown") in cluster.gpu_class._book.served()
    cluster.api.delete(f"{PAS}/classify-00001")
    tick(cluster, 41.0)
    assert cluster.gpu_class._book.served() == {}


def test_a_profile_that_says_too_little_heals_from_traffic(cluster: GpuCluster) -> None:
    """20 ms at 20 % is what the profile says and 40 ms what requests take: about twice the quota in the end."""
    revision, pod = serving(cluster)
    quotas = []
    for second in range(60):
        cluster.busy_ns[pod] = 40_000_000 * 5 * second
        loaded(cluster, revision, 5.0, 20.0 + second, seconds=1)
        quotas.append(cluster.quota(pod))
    assert quotas[-1] > 1.5 * min(quotas[:20])


def test_a_terminating_pod_holds_its_room_until_its_agent_saw_it_go(cluster: GpuCluster) -> None:
    old = cluster.add_pod("old-00001", scaling="fixed", sm_partition="100%", time_quota="100%")
    cluster.acknowledge(10.0)
    tick(cluster, 10.0)
    cluster.acknowledge(11.0)
    cluster.api.merge(f"{PODS}/{old}", {"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}})
    new = cluster.add_pod("new-00001", scaling="fixed", sm_partition="100%", time_quota="50%")
    tick(cluster, 12.0)
    assert cluster.slice_of(new) == {}
    cluster.acknowledge(13.0, alive=lambda name: name != old)
    tick(cluster, 13.0)
    assert cluster.quota(new) == 50


def test_a_pod_object_that_vanished_is_counted_while_its_agent_still_sees_it(cluster: GpuCluster) -> None:
    old = cluster.add_pod("old-00001", scaling="fixed", sm_partition="100%", time_quota="100%")
    cluster.acknowledge(10.0)
    tick(cluster, 10.0)
    cluster.acknowledge(11.0)
    cluster.api.delete(f"{PODS}/{old}")
    new = cluster.add_pod("new-00001", scaling="fixed", sm_partition="100%", time_quota="50%")
    tick(cluster, 12.0)
    assert cluster.slice_of(new) == {}


def test_a_new_revision_takes_its_predecessors_quota_once_the_shrink_is_acknowledged(cluster: GpuCluster) -> None:
    revision, old = serving(cluster, sm_partition="100%")
    now = loaded(cluster, revision, 30.0, 20.0)
    assert cluster.quota(old) > 30
    cluster.add_revision("classify-00002", annotations={"sm_partition": "100%", "time_quota": "70%-100%"})
    new = cluster.add_pod("classify-00002", sm_partition="100%", time_quota="70%-100%")
    cluster.hear_nothing_new(now)
    tick(cluster, now)
    assert cluster.quota(old) == 5
    assert cluster.slice_of(new) == {}
    cluster.acknowledge(now + 1)
    tick(cluster, now + 1)
    assert cluster.quota(new) >= 70


def test_a_deposed_leader_writes_nothing(cluster: GpuCluster) -> None:
    cluster.add_revision()
    pod = cluster.add_pod()
    cluster.acknowledge(10.0)
    cluster.leading = False
    tick(cluster, 10.0)
    assert cluster.slice_of(pod) == {}


def test_a_new_leader_finds_the_allocation_as_it_is(cluster: GpuCluster) -> None:
    revision, pod = serving(cluster)
    now = loaded(cluster, revision, 12.0, 20.0)
    before = cluster.slice_of(pod)
    cluster.settle()
    successor = cluster.make_class()
    successor.lead(True, now)
    successor.tick(now + 1.0)
    assert cluster.slice_of(pod) == before


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
    tick(cluster, 10.0)
    second = cluster.add_pod("fixed-00002", scaling="fixed", sm_partition="100%", time_quota="60%")
    cluster.acknowledge(11.0)
    tick(cluster, 11.0)
    assert "gpu" not in cluster.slice_of(second)
    cluster.acknowledge(26.0)
    tick(cluster, 26.0)
    assert cluster.quota(first) == 60, "the write was not made, and after a while it is tried again"
    assert "gpu" not in cluster.slice_of(second)


def test_a_steady_state_writes_nothing(cluster: GpuCluster) -> None:
    revision, pod = serving(cluster)
    now = loaded(cluster, revision, 5.0, 20.0, seconds=15)
    version = cluster.pod(pod)["metadata"]["resourceVersion"]
    loaded(cluster, revision, 5.0, now, seconds=10)
    assert cluster.pod(pod)["metadata"]["resourceVersion"] == version


def test_where_only_memory_is_full_one_predecessor_leaves_after_a_while(cluster: GpuCluster) -> None:
    revision, first = serving(cluster, gpu_memory="8Gi", sm_partition="20%")
    cluster.api.merge(f"{DEPLOYMENTS}/classify-00001-deployment", {"spec": {"replicas": 2}})
    second = cluster.add_pod(gpu_memory="8Gi")
    tick(cluster, 11.0)
    cluster.ready(second)
    cluster.acknowledge(12.0)
    cluster.add_revision("classify-00002", annotations={"gpu_memory": "8Gi"})
    new = cluster.add_pod("classify-00002", gpu_memory="8Gi")
    cluster.api.merge(f"{PODS}/{new}", {"metadata": {"creationTimestamp": "1970-01-01T00:00:20Z"}})
    cluster.acknowledge(45.0)
    tick(cluster, 45.0)
    assert len(cluster.api.list(PODS)) == 3
    cluster.acknowledge(51.0)
    tick(cluster, 51.0)
    assert len(cluster.api.list(PODS)) == 2
    assert "Replaced" in cluster.told()
    assert revision in cluster.gpu_class._records
    assert {first, second} & {each["metadata"]["name"] for each in cluster.api.list(PODS)}


def test_a_placed_pod_that_its_node_cannot_take_is_deleted_and_its_node_avoided(cluster: GpuCluster) -> None:
    cluster.add_revision()
    pod = cluster.add_pod()
    cluster.acknowledge(10.0)
    tick(cluster, 10.0)
    unschedulable = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": "0/1 nodes are available: 1 Insufficient cpu.",
        "lastTransitionTime": "1970-01-01T00:00:11Z",
    }
    cluster.api.merge(f"{PODS}/{pod}", {"status": {"conditions": [unschedulable]}})
    cluster.acknowledge(22.0)
    tick(cluster, 22.0)
    assert cluster.api.get(f"{PODS}/{pod}") is None
    again = cluster.add_pod()
    cluster.reports.put(NodeReport(node="node-1", revision=99, pods=()), 23.0)
    tick(cluster, 23.0)
    assert cluster.slice_of(again) == {}
    cluster.hear_nothing_new(60.0)
    tick(cluster, 60.0)
    assert cluster.slice_of(again) != {}


def test_a_silent_agent_lets_no_quota_grow(cluster: GpuCluster) -> None:
    revision, pod = serving(cluster)
    before = cluster.quota(pod)
    cluster.gpu_class.on_stats(cluster.load(revision, 15.0), 21.0)
    tick(cluster, 21.0)
    assert cluster.quota(pod) == before
    cluster.acknowledge(22.0)
    cluster.gpu_class.on_stats(cluster.load(revision, 15.0), 22.0)
    tick(cluster, 22.0)
    assert cluster.quota(pod) > before


def test_a_plan_for_a_gpu_whose_agent_fell_silent_is_not_followed(cluster: GpuCluster) -> None:
    revision, _ = serving(cluster)
    loaded(cluster, revision, 60.0, 20.0)
    second = cluster.add_pod()
    tick(cluster, 34.5)
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
    _, pod = serving(cluster)
    cluster.api.merge(f"{PODS}/{pod}", {"metadata": {"annotations": {"hasgpu.dev/gpu-processes": said}}})
    other = cluster.add_pod("fixed-00001", scaling="fixed", time_quota="30%")
    tick(cluster, 11.0)
    assert cluster.quota(other) == 30


def test_a_pod_that_the_server_will_not_change_keeps_no_other_waiting(cluster: GpuCluster) -> None:
    refused = cluster.add_pod("first-00001", scaling="fixed", time_quota="30%")
    other = cluster.add_pod("other-00001", scaling="fixed", time_quota="30%")
    cluster.acknowledge(10.0)
    cluster.api.fail_next("PATCH", f"/pods/{refused}", 500, "AnotherWebhookIsDown")
    tick(cluster, 10.0)
    assert cluster.slice_of(refused) == {}
    assert cluster.quota(other) == 30


def test_a_report_that_makes_no_sense_is_counted_and_stops_nobody(cluster: GpuCluster) -> None:
    pod = cluster.add_pod("fixed-00001", scaling="fixed", time_quota="30%")
    cluster.acknowledge(10.0)
    tick(cluster, 10.0)
    cluster.acknowledge(11.0)
    (report,) = cluster.reports.snapshot()["node-1"][0].pods
    strange = replace(report, pod_uid="gone", quota_percent=3, sm_percent=900, row=1)
    cluster.reports.put(NodeReport(node="node-1", revision=9, pods=(report, strange)), 12.0)
    other = cluster.add_pod("other-00001", scaling="fixed", time_quota="30%")
    tick(cluster, 12.0)
    assert cluster.slice_of(pod) != {}
    assert cluster.slice_of(other) == {} or cluster.slice_of(other)["row"] == "0"


def test_while_an_activator_is_missing_silence_changes_nothing(cluster: GpuCluster) -> None:
    revision, pod = serving(cluster)
    now = loaded(cluster, revision, 12.0, 20.0)
    high = cluster.quota(pod)
    cluster.all_connected = False
    for second in range(90):
        cluster.hear_nothing_new(now + second)
        tick(cluster, now + second)
    assert cluster.quota(pod) == high
    assert wanted(cluster, revision) >= 1
    cluster.all_connected = True
    now += 90
    for second in range(20):
        cluster.acknowledge(now + second)
        tick(cluster, now + second)
    assert wanted(cluster, revision) >= 1
    assert cluster.quota(pod) < high
    for second in range(20, 70):
        cluster.hear_nothing_new(now + second)
        tick(cluster, now + second)
    assert wanted(cluster, revision) == 0


def test_while_an_activator_is_missing_the_load_that_is_seen_still_raises_the_quota(cluster: GpuCluster) -> None:
    revision, pod = serving(cluster)
    before = cluster.quota(pod)
    cluster.all_connected = False
    loaded(cluster, revision, 12.0, 20.0)
    assert cluster.quota(pod) > before


def test_a_revision_that_nothing_routes_to_and_that_never_starts_gives_its_slice_back(cluster: GpuCluster) -> None:
    revision = cluster.add_revision(annotations={})
    cluster.add_pod()
    cluster.acknowledge(10.0)
    tick(cluster, 10.0)
    cluster.api.merge(f"{PAS}/classify-00001", {"spec": {"reachability": "Unreachable"}})
    for now, pods in ((20.0, 1), (600.0, 1), (701.0, 0)):
        cluster.hear_nothing_new(now)
        tick(cluster, now)
        assert wanted(cluster, revision) == pods


def test_a_revision_that_waits_for_room_is_never_given_up(cluster: GpuCluster) -> None:
    revision = cluster.add_revision()
    cluster.add_pod(gpu_memory="32Gi")
    cluster.api.merge(f"{PAS}/classify-00001", {"spec": {"reachability": "Unreachable"}})
    for now in (10.0, 20.0, 5000.0, 9000.0):
        cluster.hear_nothing_new(now)
        tick(cluster, now)
    assert wanted(cluster, revision) == 1
