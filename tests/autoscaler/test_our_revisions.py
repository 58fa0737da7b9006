"""Which PodAutoscalers are ours, version by version, and the profiles they name."""

from __future__ import annotations

import msgspec
from hasgpu.autoscaler.our_revisions import OurRevisions
from hasgpu.cluster.knative import PodAutoscaler
from hasgpu.model.keys import RevisionKey

OURS = "has.autoscaling.hasgpu.dev"


def podautoscaler(name: str, *, of: str = OURS, profile: str = "p", deleted: bool = False) -> PodAutoscaler:
    notes = {"autoscaling.knative.dev/class": of, "hasgpu.dev/slo-latency": "200ms", "hasgpu.dev/profile": profile}
    metadata = {"name": name, "namespace": "ns", "annotations": notes}
    if deleted:
        metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}
    return msgspec.convert({"metadata": metadata, "spec": {"scaleTargetRef": target}}, PodAutoscaler)


def test_ours_are_those_of_our_class_that_are_not_being_deleted() -> None:
    mine, other, going = podautoscaler("a"), podautoscaler("b", of="kpa.autoscaling.knative.dev"), podautoscaler("c")
    ours = OurRevisions()
    assert ours.follow((mine, other, going)) == {RevisionKey("ns", "a"): mine, RevisionKey("ns", "c"): going}
    assert ours.follow((mine, other, podautoscaler("c", deleted=True))) == {RevisionKey("ns", "a"): mine}
    assert ours.follow((other,)) == {}
    assert ours.profiles() == set()


def test_a_newer_version_names_its_own_profile_and_one_that_cannot_be_obeyed_names_none() -> None:
    ours = OurRevisions()
    ours.follow((podautoscaler("a"), podautoscaler("b", profile="q")))
    assert ours.profiles() == {("ns", "p"), ("ns", "q")}
    newer = (podautoscaler("a", profile="r"), podautoscaler("b", profile="no such/name"))
    ours.follow(newer)
    assert ours.profiles() == {("ns", "r")}


def test_of_what_was_told_before_nothing_changes() -> None:
    ours, mine = OurRevisions(), podautoscaler("a")
    before = ours.follow((mine,))
    ours.follow(())
    assert before == {RevisionKey("ns", "a"): mine}
