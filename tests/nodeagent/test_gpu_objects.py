"""What is told about a GPU, and when."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hasgpu.cluster.custom import HEALTHY, MPS_READY, Gpu, to_gpu
from hasgpu.cluster.paths import GPUS, named
from hasgpu.decision.timetable import Objection
from hasgpu.device.nvml import Device
from hasgpu.model.schedule import GpuSchedule, ScheduleEntry
from hasgpu.nodeagent.gpu_objects import Finding, GpuObject, Shares, disown, ledger_finding, object_name

from tests.cluster.fake_api import FakeApi

DEVICE = Device(
    uuid="GPU-1a2B",
    index=0,
    product="Tesla-V100",
    memory_bytes=16 << 30,
    sm_count=80,
    sm_step=2,
    mps_client_limit=60,
    mig=False,
)
FINE = {kind: Finding(holds=True, reason="Fine") for kind in (HEALTHY, MPS_READY)}
IDLE = Shares(rows=(), allocated_percent=0, measured_percent=0)
BUSY = Shares(rows=((0, 50, 60, 2),), allocated_percent=30, measured_percent=28)


def entry(uid: str, row: int, quota: int) -> ScheduleEntry:
    return ScheduleEntry(
        pod_uid=uid, row=row, quota_percent=quota, generation=1, windows=1, phase=0, slots=(), memory_bytes=0
    )


SCHEDULE = GpuSchedule(
    gpu_uuid="GPU-0",
    window_ns=40_000_000,
    rows=((0, 50, "slots"), (1, 30, "slots")),
    entries=(entry("a", 0, 30), entry("b", 0, 60), entry("c", 1, 50)),
)


@pytest.fixture
def api() -> Iterator[FakeApi]:
    with FakeApi() as serving:
        yield serving


def gpu_object(api: FakeApi) -> GpuObject:
    return GpuObject(api.session(), "node1", DEVICE, "10.0.0.1:9401")


def read(api: FakeApi) -> Gpu:
    return api.session().get(named(GPUS, "", "gpu-1a2b"), Gpu)


def status(api: FakeApi) -> dict[str, Any]:
    found = api.session().get(named(GPUS, "", "gpu-1a2b"), dict)
    told: dict[str, Any] = found["status"]
    return told


def told_twice(api: FakeApi) -> GpuObject:
    """An object that exists and was told once, at second 100."""
    written = gpu_object(api)
    written.tell(FINE, IDLE, 90.0)
    written.tell(FINE, IDLE, 100.0)
    return written


def test_shares_are_of_the_whole_gpu() -> None:
    shares = Shares.of(SCHEDULE, {"a": 0.3, "b": 0.1, "c": 0.5})
    assert shares.rows == ((0, 50, 90, 2), (1, 30, 50, 1))
    assert shares.allocated_percent == 60
    assert shares.measured_percent == 35


def test_an_empty_gpu_has_no_shares() -> None:
    assert Shares.of(None, {}) == IDLE


def test_a_gpu_is_named_by_its_uuid() -> None:
    assert object_name("GPU-1a2B") == "gpu-1a2b"


def test_the_allocator_reads_what_the_agent_found(api: FakeApi) -> None:
    told_twice(api)
    found = to_gpu(read(api))
    assert (found.uuid, found.node, found.memory_bytes, found.sm_count) == ("GPU-1a2B", "node1", 16 << 30, 80)
    assert (found.healthy, found.mps_ready, found.agent_address) == (True, True, "10.0.0.1:9401")


def test_an_object_that_is_there_already_gets_the_device_as_it_is(api: FakeApi) -> None:
    told_twice(api)
    larger = GpuObject(api.session(), "node1", replace(DEVICE, memory_bytes=32 << 30), "10.0.0.1:9401")
    larger.ensure()
    assert read(api).spec.memory == "32Gi"


def test_an_administrators_client_limit_lowers_the_devices_own(api: FakeApi) -> None:
    written = told_twice(api)
    written.limit_clients(48)
    assert read(api).spec.mps_client_limit == 48
    written.limit_clients(100)
    assert read(api).spec.mps_client_limit == 60


def test_a_condition_is_told_at_once_and_keeps_its_time_while_it_holds(api: FakeApi) -> None:
    written = told_twice(api)
    since = status(api)["conditions"][0]["lastTransitionTime"]
    written.tell(FINE | {MPS_READY: Finding(holds=False, reason="Fault")}, IDLE, 101.0)
    healthy, mps = status(api)["conditions"]
    assert (mps["status"], mps["reason"], healthy["lastTransitionTime"]) == ("False", "Fault", since)


@pytest.mark.parametrize(
    ("shares", "at_s", "told"),
    [
        pytest.param(BUSY, 105.0, False, id="shares wait for ten seconds"),
        pytest.param(BUSY, 110.0, True, id="then they are told"),
        pytest.param(replace(IDLE, measured_percent=4), 500.0, False, id="four points are not worth a write"),
        pytest.param(replace(IDLE, measured_percent=5), 500.0, True, id="five points are"),
        pytest.param(IDLE, 5000.0, False, id="a steady state writes nothing"),
    ],
)
def test_shares_are_told_when_they_moved(api: FakeApi, shares: Shares, at_s: float, told: bool) -> None:
    written = told_twice(api)
    before = read(api).metadata.resource_version
    written.tell(FINE, shares, at_s)
    assert (read(api).metadata.resource_version != before) is told


def test_a_gpu_whose_ledger_does_not_fit_says_so() -> None:
    objection = Objection(
        pod_uid="p", gpu_uuid="GPU-1a2B", row=2, asked_percent=50, laid_percent=0, why="the row's other pods hold 98%"
    )
    assert ledger_finding([]).holds
    finding = ledger_finding([objection])
    assert (finding.holds, finding.message) == (False, "row 2, pod p: the row's other pods hold 98%")


def test_an_object_that_somebody_deleted_comes_back(api: FakeApi) -> None:
    written = told_twice(api)
    api.session().request("DELETE", named(GPUS, "", "gpu-1a2b"))
    written.tell(FINE, BUSY, 200.0)
    written.tell(FINE, BUSY, 201.0)
    assert status(api)["allocatedPercent"] == 30


def test_a_device_that_is_gone_from_the_node_is_taken_out_of_use(api: FakeApi) -> None:
    told_twice(api)
    disown(api.session(), "node1", {"GPU-1a2B"}, 200.0)
    assert to_gpu(read(api)).healthy
    disown(api.session(), "node1", {"GPU-other"}, 200.0)
    found = to_gpu(read(api))
    assert (found.healthy, found.mps_ready) == (False, False)
    assert status(api)["conditions"][0]["reason"] == "Missing"
