"""Pods are counted as Knative counts them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

from hasgpu.autoscaler.pod_index import PodCounts, PodIndex
from hasgpu.cluster.metadata import Condition, Metadata
from hasgpu.cluster.objects import Pod, PodStatus
from hasgpu.model.keys import RevisionKey

KEY = RevisionKey("ns", "rev")


def pod(
    name: str, phase: str, ready: Literal["True", "False"] = "False", *, going: bool = False, of: str = "rev"
) -> Pod:
    metadata = Metadata(
        name=name,
        namespace="ns",
        labels={"serving.knative.dev/revision": of} if of else {},
        deletion_timestamp=datetime(2026, 1, 1, tzinfo=UTC) if going else None,
    )
    return Pod(metadata=metadata, status=PodStatus(phase=phase, conditions=(Condition(type="Ready", status=ready),)))


def test_each_state_counts_where_knative_counts_it() -> None:
    index = PodIndex()
    for each in (
        pod("ready", "Running", "True"),
        pod("starting", "Running"),
        pod("pending", "Pending"),
        pod("pending and going", "Pending", going=True),
        pod("going", "Running", "True", going=True),
        pod("done", "Succeeded"),
        pod("failed", "Failed"),
    ):
        assert index.on_event("ADDED", None, each) == KEY
    assert index.counts(KEY) == PodCounts(ready=1, not_ready=4, pending=2, terminating=1)
    assert len(index.pods(KEY)) == 7


def test_changes_and_deletions_are_followed() -> None:
    index = PodIndex()
    before, after = pod("a", "Pending"), pod("a", "Running", "True")
    index.on_event("ADDED", None, before)
    index.on_event("MODIFIED", before, after)
    assert index.counts(KEY) == PodCounts(ready=1)
    index.on_event("DELETED", after, None)
    assert index.counts(KEY) == PodCounts()
    assert index.pods(KEY) == ()


def test_a_pod_of_no_revision_is_nobodys() -> None:
    index = PodIndex()
    assert index.on_event("ADDED", None, pod("a", "Running", "True", of="")) is None
