"""The leader's pass against an API server and an agent: quotas of running pods, numbers of pods, taking over."""

from __future__ import annotations

import re
import time

import pytest

from tests.autoscaler.gpu_cluster import DEPLOYMENTS, PAS, PODS, GpuCluster


def test_load_raises_the_quota_of_the_running_pod(cluster: GpuCluster) -> None:
    revision, pod = cluster.serving()
    before = cluster.quota(pod)
    cluster.loaded(revision, 12.0, 20.0)
    assert cluster.quota(pod) > before
    assert int(cluster.slice_of(pod)["generation"]) >= 2
    said = [words for reason, words in cluster.told_words() if reason == "TimeQuotaChanged"]
    assert any(re.search(rf"{pod} {before} -> \d+ % \(.*\bquota\b.*\)$", words) for words in said), said


def test_the_quota_is_raised_with_the_first_stat_that_shows_the_load(cluster: GpuCluster) -> None:
    revision, pod = cluster.serving()
    before = cluster.quota(pod)
    cluster.gpu_class.on_stats(cluster.load(revision, 15.0), 20.0)
    cluster.tick(20.0)
    assert cluster.quota(pod) > before


def test_who_surges_is_answered_at_once_though_it_was_decided_a_moment_ago_and_nobody_else_is_written(
    cluster: GpuCluster,
) -> None:
    revision, pod = cluster.serving()
    other = cluster.add_revision("other-00001")
    mate = cluster.add_pod("other-00001")
    now = cluster.loaded(revision, 2.0, 20.0)
    cluster.gpu_class.on_stats(cluster.load(other, 2.0), now)
    cluster.tick(now)
    before, untouched = cluster.quota(pod), cluster.slice_of(mate)
    # Not so much that the mate must make room.
    cluster.gpu_class.on_stats(cluster.load(revision, 8.0), now + 0.05)
    cluster.tick(now + 0.05)
    assert cluster.quota(pod) > before
    assert cluster.slice_of(mate) == untouched


def test_the_quota_is_shown_on_the_revision(cluster: GpuCluster) -> None:
    revision, _ = cluster.serving()
    cluster.loaded(revision, 12.0, 20.0)
    shown, end = None, time.monotonic() + 5.0
    while shown is None and time.monotonic() < end:
        status = (cluster.api.get(f"{PAS}/{revision.name}") or {}).get("status", {})
        shown = status.get("annotations", {}).get("hasgpu.dev/time-quota")
    assert shown is not None


def test_in_rows_that_lend_small_quotas_carry_the_load_and_the_rest_of_the_row_is_nobodys(cluster: GpuCluster) -> None:
    cluster.settings.put("config-hasgpu", {"row-policy": "borrow", "lent-percent": "80"})
    revision, pod = cluster.serving()
    now = cluster.loaded(revision, 12.0, 20.0)
    assert 5 <= cluster.quota(pod) <= 20
    assert cluster.wanted(revision) == 1
    cluster.loaded(revision, 60.0, now)
    assert cluster.quota(pod) == 20
    assert cluster.wanted(revision) >= 2


def test_load_that_goes_lets_the_quota_fall(cluster: GpuCluster) -> None:
    revision, pod = cluster.serving()
    now = cluster.loaded(revision, 12.0, 20.0)
    high = cluster.quota(pod)
    cluster.loaded(revision, 1.0, now, seconds=15)
    assert cluster.quota(pod) < high


def test_what_the_row_cannot_give_becomes_a_second_pod_with_its_plan(cluster: GpuCluster) -> None:
    revision, first = cluster.serving()
    now = cluster.loaded(revision, 60.0, 20.0)
    assert cluster.wanted(revision) >= 2
    assert revision in cluster.enqueued
    second = cluster.add_pod()
    cluster.tick(now)
    assert cluster.slice_of(second)["row"] != cluster.slice_of(first)["row"]


def test_an_idle_revision_wants_no_pods_after_its_window(cluster: GpuCluster) -> None:
    revision, _ = cluster.serving()
    now = cluster.loaded(revision, 5.0, 20.0)
    cluster.hear_nothing_new(now + 30)
    cluster.tick(now + 30)
    assert cluster.wanted(revision) == 1
    cluster.hear_nothing_new(now + 61)
    cluster.tick(now + 61)
    assert cluster.wanted(revision) == 0


def test_a_revision_at_zero_stays_there_though_its_last_pod_is_gone_and_the_leader_new(cluster: GpuCluster) -> None:
    revision, pod = cluster.serving()
    now = cluster.loaded(revision, 5.0, 20.0) + 61
    cluster.hear_nothing_new(now)
    cluster.tick(now)
    cluster.api.merge(f"{DEPLOYMENTS}/classify-00001-deployment", {"spec": {"replicas": 0}})
    cluster.api.delete(f"{PODS}/{pod}")
    cluster.tick(now + 1)
    assert cluster.wanted(revision) == 0
    cluster.gpu_class.lead(True, now + 2)
    cluster.tick(now + 10)
    assert cluster.wanted(revision) == 0


def test_a_revision_at_zero_wakes_with_its_first_request(cluster: GpuCluster) -> None:
    revision = cluster.add_revision(replicas=0)
    cluster.acknowledge(100.0)
    cluster.gpu_class.on_stats(cluster.load(revision, 1.0, in_flight=1.0), 100.0)
    cluster.tick(100.0)
    assert cluster.wanted(revision) == 1


def test_scale_in_marks_its_victim_and_waits_to_see_the_mark(cluster: GpuCluster) -> None:
    revision, first = cluster.serving()
    cluster.api.merge(f"{DEPLOYMENTS}/classify-00001-deployment", {"spec": {"replicas": 2}})
    second = cluster.add_pod()
    cluster.tick(11.0)
    cluster.ready(second)
    now = cluster.loaded(revision, 1.0, 20.0, seconds=1)
    while cluster.wanted(revision) == 2 and now < 90.0:
        now = cluster.loaded(revision, 1.0, now, seconds=1)
    marked = [
        name
        for name in (first, second)
        if "controller.kubernetes.io/pod-deletion-cost" in cluster.pod(name)["metadata"]["annotations"]
    ]
    assert cluster.wanted(revision) == 1
    assert len(marked) == 1


def test_a_new_leader_finds_the_allocation_as_it_is(cluster: GpuCluster) -> None:
    revision, pod = cluster.serving()
    now = cluster.loaded(revision, 12.0, 20.0)
    before = cluster.slice_of(pod)
    cluster.settle()
    successor = cluster.make_class()
    successor.lead(True, now)
    successor.tick(now + 1.0)
    assert cluster.slice_of(pod) == before


def test_a_steady_state_writes_nothing(cluster: GpuCluster) -> None:
    revision, pod = cluster.serving()
    now = cluster.loaded(revision, 5.0, 20.0, seconds=15)
    version = cluster.pod(pod)["metadata"]["resourceVersion"]
    cluster.loaded(revision, 5.0, now, seconds=10)
    assert cluster.pod(pod)["metadata"]["resourceVersion"] == version


def test_a_silent_agent_lets_no_quota_grow(cluster: GpuCluster) -> None:
    revision, pod = cluster.serving()
    before = cluster.quota(pod)
    cluster.gpu_class.on_stats(cluster.load(revision, 15.0), 21.0)
    cluster.tick(21.0)
    assert cluster.quota(pod) == before
    cluster.acknowledge(22.0)
    cluster.gpu_class.on_stats(cluster.load(revision, 15.0), 22.0)
    cluster.tick(22.0)
    assert cluster.quota(pod) > before


def test_while_an_activator_is_missing_silence_changes_nothing(cluster: GpuCluster) -> None:
    revision, pod = cluster.serving()
    now = cluster.loaded(revision, 12.0, 20.0)
    high = cluster.quota(pod)
    cluster.all_connected = False
    for second in range(90):
        cluster.hear_nothing_new(now + second)
        cluster.tick(now + second)
    assert cluster.quota(pod) == high
    assert cluster.wanted(revision) >= 1
    cluster.all_connected = True
    now += 90
    for second in range(20):
        cluster.acknowledge(now + second)
        cluster.tick(now + second)
    assert cluster.wanted(revision) >= 1
    assert cluster.quota(pod) < high
    for second in range(20, 70):
        cluster.hear_nothing_new(now + second)
        cluster.tick(now + second)
    assert cluster.wanted(revision) == 0


def test_while_an_activator_is_missing_the_load_that_is_seen_still_raises_the_quota(cluster: GpuCluster) -> None:
    revision, pod = cluster.serving()
    before = cluster.quota(pod)
    cluster.all_connected = False
    cluster.loaded(revision, 12.0, 20.0)
    assert cluster.quota(pod) > before


def test_a_revision_that_nothing_routes_to_and_that_never_starts_gives_its_slice_back(cluster: GpuCluster) -> None:
    revision = cluster.add_revision(annotations={})
    cluster.add_pod()
    cluster.acknowledge(10.0)
    cluster.tick(10.0)
    cluster.api.merge(f"{PAS}/classify-00001", {"spec": {"reachability": "Unreachable"}})
    for now, pods in ((20.0, 1), (600.0, 1), (701.0, 0)):
        cluster.hear_nothing_new(now)
        cluster.tick(now)
        assert cluster.wanted(revision) == pods


def test_a_revision_that_waits_for_room_is_never_given_up(cluster: GpuCluster) -> None:
    revision = cluster.add_revision()
    cluster.add_pod(gpu_memory="32Gi")
    cluster.api.merge(f"{PAS}/classify-00001", {"spec": {"reachability": "Unreachable"}})
    for now in (10.0, 20.0, 5000.0, 9000.0):
        cluster.hear_nothing_new(now)
        cluster.tick(now)
    assert cluster.wanted(revision) == 1


@pytest.mark.parametrize("deleted", [pytest.param(True, id="it is deleted"), pytest.param(False, id="another leads")])
def test_figures_of_a_revision_end_when(cluster: GpuCluster, *, deleted: bool) -> None:
    revision, _ = cluster.serving()
    now = cluster.loaded(revision, 5.0, 20.0)
    assert "hasgpu.revision.gpu_share" in cluster.gauges("hasgpu.revision")
    if deleted:
        cluster.api.delete(f"{PAS}/{revision.name}")
        cluster.tick(now + 5.0)
    else:
        cluster.gpu_class.lead(False, now)
    assert cluster.gauges("hasgpu.revision") == set()
