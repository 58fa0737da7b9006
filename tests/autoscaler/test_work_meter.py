"""GPU time of a request from meters and counts: divided as launches are, without warm-ups, never from overload."""

from __future__ import annotations

import pytest
from hasgpu.autoscaler.observed_load import ObservedLoad, horizons
from hasgpu.autoscaler.work_meter import LEAST_WAY_S, SETTLING_REQUESTS, WorkMeter, WorkSample
from hasgpu.model.gpu import GpuSlice, Placement
from hasgpu.model.keys import PodKey, RevisionKey
from hasgpu.model.report import PodSliceReport
from hasgpu.model.units import SmPartition, TimeQuota
from hasgpu.prediction.forecast_board import ForecastBoard

PRODUCTS = {"GPU-a": "V100"}


def pod(name: str, sm: int = 20, ready: bool = True) -> Placement:
    entry = GpuSlice(
        gpu_uuid="GPU-a", row=0, sm_partition=SmPartition(sm), time_quota=TimeQuota(50), memory_bytes=1, generation=1
    )
    return Placement(
        pod=PodKey("ns", name, name), revision=RevisionKey("ns", "r"), slice=entry, processes=1, ready=ready
    )


def report(name: str, busy_ms: float, launches: int, quota: int = 50) -> PodSliceReport:
    return PodSliceReport(
        pod_uid=name, namespace="ns", name=name, gpu_uuid="GPU-a", generation=1, quota_percent=quota, processes=1,
        busy_ns=int(busy_ms * 1e6), gated_ns=0, debt_ns=0, launches=launches, waiting=0, memory_bytes=1, sm_count=16,
        alive=True,
    )  # fmt: skip


class Watched:
    """One meter, told a second after another."""

    def __init__(self, *pods: Placement, batch_size: int = 1) -> None:
        self.meter, self.pods, self.batch_size, self.now = WorkMeter(), list(pods), batch_size, 0.0
        self.load = ObservedLoad(0.0, ForecastBoard(*horizons(0.95, 8.0)))
        self.settled = 0.0

    def settle(self, *reports: PodSliceReport) -> None:
        """Its first requests, whose work is not counted."""
        self.second(0, *reports)
        self.settled = SETTLING_REQUESTS
        self.second(0, *reports)

    def second(self, requests: float, *reports: PodSliceReport, flight_s: float = 0.0) -> list[WorkSample]:
        self.now += 1.0
        self.load.requests = self.settled + requests
        self.load.in_flight_s += flight_s
        heard = {each.pod_uid: each for each in reports}
        return self.meter.read(
            self.pods, heard, PRODUCTS, self.load, self.now, batch_size=self.batch_size, window_s=0.040
        )


def test_a_window_of_requests_is_a_sample() -> None:
    watched = Watched(pod("a"))
    watched.settle(report("a", 500, 90))
    assert watched.second(12, report("a", 620, 210)) == []
    (sample,) = watched.second(24, report("a", 740, 330))
    assert (sample.product, sample.sm_percent, sample.overloaded) == ("V100", 20, False)
    assert sample.work_s == pytest.approx(0.010)
    assert sample.requests == 24


def test_requests_of_pods_with_different_shares_are_divided_as_launches_are() -> None:
    watched = Watched(pod("a", sm=20), pod("b", sm=80))
    watched.settle(report("a", 0, 0), report("b", 0, 0))
    found = watched.second(40, report("a", 300, 100), report("b", 300, 300))
    assert {each.sm_percent: each.work_s for each in found} == pytest.approx({20: 0.030, 80: 0.010})


def test_what_a_pod_does_before_it_is_ready_is_nobodys_request() -> None:
    watched = Watched(pod("a", ready=False))
    watched.second(0, report("a", 0, 0))
    watched.second(0, report("a", 900, 500))
    watched.pods = [pod("a")]
    watched.settle(report("a", 950, 550))
    (sample,) = watched.second(20, report("a", 1150, 750))
    assert sample.work_s == pytest.approx(0.010)


def test_the_first_requests_of_a_pod_are_not_counted() -> None:
    watched = Watched(pod("a"))
    watched.second(0, report("a", 0, 0))
    assert watched.second(15, report("a", 15, 15)) == []
    (sample,) = watched.second(35, report("a", 215, 215))
    assert (sample.requests, sample.work_s) == (20, pytest.approx(0.010))


def test_a_pod_that_uses_all_its_slots_teaches_nothing() -> None:
    watched = Watched(pod("a"))
    watched.settle(report("a", 0, 0))
    (sample,) = watched.second(40, report("a", 480, 400))
    assert sample.overloaded


def test_a_function_that_batches_teaches_only_what_lone_requests_take() -> None:
    watched = Watched(pod("a"), batch_size=8)
    watched.settle(report("a", 0, 0))
    (busy,) = watched.second(40, report("a", 200, 100))
    (quiet,) = watched.second(60, report("a", 300, 200))
    assert (busy.overloaded, quiet.overloaded) == (True, False)


def test_a_restarted_count_is_no_negative_work() -> None:
    watched = Watched(pod("a"))
    watched.settle(report("a", 900, 900))
    assert watched.second(40, report("a", 100, 100)) == []


def test_mean_latency_says_how_much_of_its_slots_a_request_takes_at_most() -> None:
    """30 ms on the GPU at the whole of it, of which 12 ms are kernels: the rest is the host's."""
    watched = Watched(pod("a"))
    watched.settle(report("a", 0, 0, quota=100))
    (sample,) = watched.second(40, report("a", 480, 400, quota=100), flight_s=40 * (0.030 + LEAST_WAY_S))
    assert sample.work_s == pytest.approx(0.012)
    assert sample.most_s == pytest.approx(0.030, rel=0.01)


def test_a_quota_that_changed_meanwhile_leaves_latency_unexplained() -> None:
    watched = Watched(pod("a"))
    watched.settle(report("a", 0, 0))
    watched.second(10, report("a", 100, 100, quota=30), flight_s=1.0)
    (sample,) = watched.second(40, report("a", 400, 400, quota=60), flight_s=1.0)
    assert sample.most_s is None
