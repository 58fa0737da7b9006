"""The load of a revision from its activators' stats."""

from __future__ import annotations

import pytest
from hasgpu.autoscaler.observed_load import ObservedLoad, horizons
from hasgpu.decision.demand import RevisionLoad
from hasgpu.model.keys import RevisionKey
from hasgpu.model.load import StatMessage
from hasgpu.prediction.forecast_board import ForecastBoard


def stat(requests: float, in_flight: float = 0.0, reporter: str = "a") -> StatMessage:
    return StatMessage(
        key=RevisionKey("ns", "r"),
        pod_name=reporter,
        average_concurrent_requests=in_flight,
        average_proxied_concurrent_requests=0.0,
        request_count=requests,
        proxied_request_count=0.0,
        process_uptime_s=0.0,
        timestamp_s=0.0,
    )


def observed() -> ObservedLoad:
    return ObservedLoad(0.0, ForecastBoard(*horizons(0.95, 8.0)))


def read(load: ObservedLoad, now: float) -> RevisionLoad:
    return load.read(now, known=True, startup_s=8.0, idle_from_s=0.0)


def test_two_activators_tell_two_parts_of_one_load() -> None:
    load = observed()
    for second in range(30):
        load.take(stat(4.0, reporter="a"), float(second))
        load.take(stat(6.0, reporter="b"), second + 0.5)
        seen = read(load, second + 0.5)
    # Ten, and what chance adds to the mean of five seconds.
    assert seen.soon_requests_per_s == pytest.approx(12.3, rel=0.15)


def test_in_flight_is_the_sum_of_what_is_fresh() -> None:
    load = observed()
    load.take(stat(1.0, in_flight=2.0, reporter="a"), 10.0)
    load.take(stat(1.0, in_flight=3.0, reporter="b"), 11.0)
    assert read(load, 11.5).in_flight == 5.0
    assert read(load, 13.0).in_flight == 3.0


def test_silence_is_a_rate_that_falls_to_zero() -> None:
    load = observed()
    for second in range(10):
        load.take(stat(10.0), float(second))
    before = read(load, 9.0).soon_requests_per_s
    for second in range(10, 25):
        load.tick(float(second))
    assert before > 10.0
    assert read(load, 25.0).soon_requests_per_s == 0.0


def test_idle_time_runs_from_the_last_request_not_from_the_last_report() -> None:
    load = observed()
    load.take(stat(1.0), 10.0)
    load.take(stat(0.0), 20.0)
    assert read(load, 30.0).idle_s == 20.0


def test_a_request_in_flight_is_not_idleness() -> None:
    load = observed()
    load.take(stat(1.0), 10.0)
    load.take(stat(0.0, in_flight=1.0), 20.0)
    assert read(load, 21.0).idle_s == 1.0


def test_quotas_are_planned_for_chance_and_pods_for_what_lasts() -> None:
    load = observed()
    for second in range(60):
        load.take(stat(float(6 + second % 5)), float(second))
    seen = read(load, 59.0)
    assert 8.0 < seen.startup_requests_per_s < seen.soon_requests_per_s


def test_a_new_revision_expects_what_its_predecessor_does() -> None:
    board = ForecastBoard(*horizons(0.95, 8.0))
    old, new = ObservedLoad(0.0, board), ObservedLoad(0.0, board)
    for second in range(30):
        old.take(stat(10.0), float(second))
    assert not new.known
    new.follow(old)
    assert new.known
    assert read(new, 5.0).soon_requests_per_s == read(old, 30.0).soon_requests_per_s > 10.0
