"""Class kpa ticks every two seconds, wakes at once from zero, and tells only of what moves something."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest
from hasgpu.autoscaler.kpa_class import KpaClass
from hasgpu.autoscaler.scaling_class import Wanted
from hasgpu.cluster.knative import MetricSpec, PodAutoscaler
from hasgpu.cluster.metadata import Metadata
from hasgpu.model.decider import DeciderSpec
from hasgpu.model.keys import RevisionKey
from hasgpu.model.load import StatMessage

NOW = 1_790_000_000.0
KEY = RevisionKey("ns", "hello-00001")
PA = PodAutoscaler(metadata=Metadata(name=KEY.name, namespace=KEY.namespace))
METRIC = MetricSpec(stable_window_ns=60 * 10**9, panic_window_ns=6 * 10**9, scrape_target="hello-00001-private")
UNSCRAPED = MetricSpec(stable_window_ns=60 * 10**9, panic_window_ns=6 * 10**9)
SPEC = DeciderSpec(
    max_scale_up_rate=1000, max_scale_down_rate=2, activator_capacity=100, scaling_metric="concurrency",
    target_value=70, total_value=100, target_burst_capacity=211, panic_threshold=2, stable_window_s=60,
    panic_window_s=6, scale_down_delay_s=0, initial_scale=1, activation_scale=0, reachable=True,
)  # fmt: skip


class Played:
    """The class with a clock and a pod count in the test's hand."""

    def __init__(self) -> None:
        self.now, self.ready = NOW, 1
        self.told: list[RevisionKey] = []
        self.uptime = 0.0
        self.kpa = KpaClass(
            ready_pods=lambda key: self.ready,
            on_change=self.told.append,
            clock=lambda: self.now,
            monotonic=lambda: self.uptime,
        )

    def wanted(self, spec: DeciderSpec = SPEC) -> Wanted:
        return self.kpa.wanted(PA, spec, self.now)

    def load(self, concurrency: float, at: float | None = None) -> None:
        stat = StatMessage(
            key=KEY, pod_name="activator", average_concurrent_requests=concurrency, request_count=concurrency,
            average_proxied_concurrent_requests=0, proxied_request_count=0, process_uptime_s=0,
            timestamp_s=self.now if at is None else at,
        )  # fmt: skip
        self.kpa.on_stats([stat])

    def pass_s(self, seconds: float) -> float | None:
        self.now += seconds
        self.uptime += seconds
        return self.kpa.tick_due(self.uptime)


def test_before_the_first_tick_nothing_is_wanted_and_the_initial_scale_stands_in_for_burst() -> None:
    assert Played().wanted() == Wanted(pods=-1, excess_burst_capacity=-111)
    assert Played().wanted(replace(SPEC, target_burst_capacity=-1)).excess_burst_capacity == -1
    assert Played().wanted(replace(SPEC, target_burst_capacity=0)).excess_burst_capacity == 0


def test_the_first_tick_comes_after_two_seconds_then_every_two() -> None:
    played = Played()
    played.wanted()
    played.kpa.collect(KEY, METRIC, "linear")
    played.load(140)
    assert played.pass_s(1.5) == 0.5
    assert played.wanted().pods == -1
    assert played.pass_s(0.5) == 2.0
    assert played.wanted().pods == 2
    assert played.told == [KEY]


def test_ticks_of_revisions_that_came_at_odd_moments_fall_together_and_never_early() -> None:
    played = Played()
    played.pass_s(0.03)
    played.wanted()
    assert played.pass_s(0.0) == pytest.approx(2.095)
    assert played.pass_s(2.095) == pytest.approx(2.0)


def test_a_ticker_that_fell_behind_skips_ticks_and_keeps_its_phase() -> None:
    played = Played()
    played.wanted()
    assert played.pass_s(7.5) == 0.5


def test_it_is_told_once_that_all_revisions_are_decided(caplog: pytest.LogCaptureFixture) -> None:
    played = Played()
    played.wanted()
    played.kpa.collect(KEY, METRIC, "linear")
    played.load(140)
    with caplog.at_level("INFO"):
        played.pass_s(1.9)
        assert caplog.messages == []
        played.pass_s(0.1)
        played.pass_s(2)
    assert caplog.messages == ["a first decision is made for all of 1 revisions"]


def test_a_wish_that_stays_is_not_told_again() -> None:
    played = Played()
    played.wanted()
    played.kpa.collect(KEY, METRIC, "linear")
    for _ in range(5):
        played.load(140)
        played.pass_s(2)
    assert played.told == [KEY]


def test_a_change_of_the_burst_sign_alone_is_told() -> None:
    played = Played()
    played.wanted()
    played.kpa.collect(KEY, METRIC, "linear")
    played.load(140)
    played.pass_s(2)
    assert (played.wanted().pods, played.told) == (2, [KEY])
    played.ready = 4
    played.load(140, at=NOW + 1)
    played.load(140)
    played.pass_s(2)
    assert played.wanted() == Wanted(pods=2, excess_burst_capacity=49)
    assert played.told == [KEY, KEY]


def test_without_data_a_scraped_revision_keeps_what_it_has() -> None:
    played = Played()
    played.wanted()
    played.pass_s(2)
    played.kpa.collect(KEY, METRIC, "linear")
    played.pass_s(2)
    assert (played.wanted().pods, played.told) == (-1, [])


def test_without_data_a_revision_that_only_activators_report_has_no_load() -> None:
    played = Played()
    played.wanted()
    played.kpa.collect(KEY, UNSCRAPED, "linear")
    played.pass_s(2)
    assert played.wanted().pods == 0


def test_a_request_to_a_revision_at_zero_is_decided_at_once() -> None:
    played = Played()
    played.wanted()
    played.kpa.collect(KEY, METRIC, "linear")
    played.load(0)
    played.pass_s(2)
    assert played.wanted().pods == 0
    played.now += 0.3
    played.load(1)
    assert played.wanted().pods == 1
    assert played.told == [KEY, KEY]


def test_an_unknown_scale_is_not_poked() -> None:
    played = Played()
    played.wanted()
    played.kpa.collect(KEY, METRIC, "linear")
    played.load(1)
    assert played.wanted().pods == -1


def test_a_forgotten_revision_neither_ticks_nor_is_reported() -> None:
    played = Played()
    played.wanted()
    played.kpa.collect(KEY, METRIC, "linear")
    played.load(140)
    played.kpa.forget(KEY)
    assert played.pass_s(2) is None
    assert (played.told, played.kpa.results()) == ([], [])


def test_a_revision_that_came_back_has_one_ticker_and_starts_anew() -> None:
    played = Played()
    played.wanted()
    played.kpa.collect(KEY, METRIC, "linear")
    played.kpa.forget(KEY)
    played.pass_s(1)
    played.wanted()
    played.load(140)
    assert played.pass_s(1) == 1.0
    assert played.wanted().pods == -1
    assert played.pass_s(1) == 2.0
    assert played.wanted().pods == 2


def test_a_revision_that_can_not_be_evaluated_does_not_end_the_ticks_of_others() -> None:
    broken = set[RevisionKey]()

    def ready_pods(key: RevisionKey) -> int:
        if key in broken:
            raise OverflowError("cannot convert float infinity to integer")
        return 1

    kpa = KpaClass(ready_pods=ready_pods, on_change=lambda key: None, clock=lambda: NOW, monotonic=lambda: 0.0)
    bad = PodAutoscaler(metadata=Metadata(name="bad-00001", namespace="ns"))
    for pa in (bad, PA):
        kpa.wanted(pa, SPEC, NOW)
        key = RevisionKey(pa.metadata.namespace, pa.metadata.name)
        kpa.collect(key, METRIC, "linear")
        stat = StatMessage(
            key=key, pod_name="activator", average_concurrent_requests=140, request_count=140,
            average_proxied_concurrent_requests=0, proxied_request_count=0, process_uptime_s=0, timestamp_s=NOW - 1.0,
        )  # fmt: skip
        kpa.on_stats([stat])
    broken.add(RevisionKey("ns", "bad-00001"))
    assert kpa.tick_due(2.0) == 2.0
    assert kpa.wanted(PA, SPEC, NOW).pods == 2


def test_ticks_go_on_when_the_wall_clock_is_set_back() -> None:
    played = Played()
    played.wanted()
    played.kpa.collect(KEY, UNSCRAPED, "linear")
    played.now -= 3600
    assert played.pass_s(2) == 2.0
    assert played.wanted().pods == 0


def test_a_stopped_collection_is_no_data() -> None:
    played = Played()
    played.wanted()
    played.kpa.collect(KEY, UNSCRAPED, "linear")
    played.kpa.stop_collecting(KEY)
    played.pass_s(2)
    assert played.wanted().pods == -1


def test_a_resized_metric_keeps_its_load() -> None:
    played = Played()
    played.wanted()
    played.kpa.collect(KEY, METRIC, "linear")
    played.load(140)
    played.kpa.collect(KEY, MetricSpec(stable_window_ns=30 * 10**9, panic_window_ns=3 * 10**9), "linear")
    played.pass_s(2)
    assert played.wanted().pods > 0


def test_the_last_evaluation_can_be_shown() -> None:
    played = Played()
    played.wanted()
    played.kpa.collect(KEY, METRIC, "linear")
    played.load(140)
    played.pass_s(2)
    ((key, _, _, result),) = played.kpa.results()
    assert (key, result.stable, result.panicking) == (KEY, 140.0, True)


def test_windows_shorter_than_a_bucket_are_refused() -> None:
    with pytest.raises(ValueError, match="ns/hello-00001: windows"):
        Played().kpa.collect(KEY, MetricSpec(stable_window_ns=0, panic_window_ns=6 * 10**9), "linear")


def test_a_report_that_cannot_be_taken_costs_no_other_revision_its_report(monkeypatch: pytest.MonkeyPatch) -> None:
    played = Played()
    played.wanted()
    played.kpa.collect(KEY, UNSCRAPED, "linear")
    broken = RevisionKey("ns", "broken")
    played.kpa.collect(broken, UNSCRAPED, "linear")
    collection = played.kpa.collection(broken)
    assert collection is not None
    monkeypatch.setattr(collection, "windows", None)
    report = StatMessage(
        key=KEY, pod_name="activator", average_concurrent_requests=140, request_count=140,
        average_proxied_concurrent_requests=0, proxied_request_count=0, process_uptime_s=0, timestamp_s=played.now,
    )  # fmt: skip
    played.kpa.on_stats([msgspec.structs.replace(report, key=broken), report])
    played.pass_s(2)
    assert played.wanted().pods == 2


def test_how_late_ticks_are_can_be_told() -> None:
    played = Played()
    assert played.kpa.late_s() == 0
    played.wanted()
    played.uptime += 40
    assert 37 < played.kpa.late_s() <= 38
    played.pass_s(0)
    assert played.kpa.late_s() == 0
