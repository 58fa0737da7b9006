"""What the leader wrote counts until its watch and the agents have seen it."""

from __future__ import annotations

import msgspec
from hasgpu.autoscaler.own_writes import UNANSWERED_S, OwnWrites
from hasgpu.cluster.objects import Pod
from hasgpu.model.gpu import GpuSlice
from hasgpu.model.keys import PodKey
from hasgpu.model.report import PodSliceReport
from hasgpu.model.units import SmPartition, TimeQuota

KEY = PodKey("ns", "p", "u")


def pod(version: int, generation: int, quota: int) -> Pod:
    notes = {"slice.hasgpu.dev/generation": str(generation), "slice.hasgpu.dev/time-quota": str(quota)}
    meta = {"name": "p", "namespace": "ns", "uid": "u", "resourceVersion": str(version), "annotations": notes}
    return msgspec.convert({"metadata": meta}, Pod)


def laid(generation: int, quota: int) -> dict[str, PodSliceReport]:
    report = PodSliceReport(
        pod_uid="u",
        namespace="ns",
        name="p",
        gpu_uuid="g",
        generation=generation,
        quota_percent=quota,
        processes=1,
        busy_ns=0,
        gated_ns=0,
        debt_ns=0,
        launches=0,
        waiting=0,
        memory_bytes=0,
        sm_count=0,
        alive=True,
    )
    return {"u": report}


def test_our_own_answer_stands_in_until_the_watch_shows_it() -> None:
    writes = OwnWrites()
    writes.wrote(pod(11, 2, 40), 1.0)
    assert writes.newest(pod(10, 1, 20)).metadata.resource_version == "11"
    assert writes.newest(pod(12, 3, 50)).metadata.resource_version == "12"
    assert writes.newest(pod(10, 1, 20)).metadata.resource_version == "10"


def test_of_writes_that_no_agent_has_laid_the_largest_counts() -> None:
    """60 then 20: an agent may still lay the 60 before it sees the 20."""
    writes = OwnWrites()
    writes.wrote(pod(11, 2, 60), 1.0)
    writes.wrote(pod(12, 3, 20), 2.0)
    assert writes.peak_percent("u") == 60
    writes.forget_acknowledged({"u"}, laid(2, 60))
    assert writes.peak_percent("u") == 20


def test_an_acknowledgement_tells_when_the_write_was_made() -> None:
    writes = OwnWrites()
    writes.wrote(pod(11, 2, 60), 1.0)
    assert writes.forget_acknowledged({"u"}, laid(1, 20)) == []
    assert writes.forget_acknowledged({"u"}, laid(2, 60)) == [1.0]
    assert writes.peak_percent("u") == -1


def test_a_pod_that_is_gone_is_forgotten() -> None:
    writes = OwnWrites()
    writes.wrote(pod(11, 2, 60), 1.0)
    writes.forget_acknowledged(set(), {})
    assert writes.peak_percent("u") == -1


def attempted(generation: int, quota: int) -> GpuSlice:
    return GpuSlice(
        gpu_uuid="g",
        row=0,
        sm_partition=SmPartition(20),
        time_quota=TimeQuota(quota),
        memory_bytes=1 << 30,
        generation=generation,
    )


def test_a_quota_whose_write_was_not_answered_counts_until_the_agent_laid_it() -> None:
    """30 -> 67 may have been applied: until that is known, nobody else is given those 37 points."""
    writes = OwnWrites()
    writes.unanswered("u", attempted(2, 67), 1.0)
    assert writes.claimed(pod(10, 1, 30), 2.0) == attempted(2, 67)
    assert writes.peak_percent("u") == 67
    assert writes.claimed(pod(11, 2, 67), 3.0) is None, "the watch shows it"
    assert writes.peak_percent("u") == 67, "the agent has not"
    writes.forget_acknowledged({"u"}, laid(2, 67))
    assert writes.peak_percent("u") == -1


def test_a_write_that_never_shows_is_given_up() -> None:
    writes = OwnWrites()
    writes.unanswered("u", attempted(2, 67), 1.0)
    assert writes.claimed(pod(10, 1, 30), 1.0 + UNANSWERED_S) is not None
    assert writes.claimed(pod(10, 1, 30), 1.1 + UNANSWERED_S) is None
    assert writes.peak_percent("u") == -1


def test_answers_of_pods_that_went_are_not_kept() -> None:
    writes = OwnWrites()
    writes.wrote(pod(11, 2, 60), 1.0)
    writes.forget_acknowledged(set(), {})
    assert writes.newest(pod(10, 1, 20)).metadata.resource_version == "10"
