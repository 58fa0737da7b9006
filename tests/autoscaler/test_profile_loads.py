"""Loads of services in the status of their profiles, and the days that the fitter finds in them."""

from __future__ import annotations

import pytest
from hasgpu.autoscaler.profile_fitting import EVERY_S, LOADS_A_TURN
from hasgpu.cluster.paths import LATENCY_PROFILES, collection
from hasgpu.prediction.season import SLOTS_A_DAY, LoadHistory, to_season

from tests.autoscaler.profile_leader import PATH, Leader, spec


def record(leader: Leader, slots: int, service: str = "a") -> LoadHistory:
    """A service that had one request/s for so long."""
    leader.loads = {("ns", "model"): {service: LoadHistory.of(0, [1.0] * slots)}}
    return leader.loads["ns", "model"][service]


def test_loads_are_kept_in_the_status_and_written_once_each_five_minutes(leader: Leader) -> None:
    leader.api.create(collection(LATENCY_PROFILES, "ns"), {"metadata": {"name": "model"}, "spec": spec()})
    leader.turn(0.0)
    for slots, now in ((1, 300.0), (1, 400.0), (2, 600.0)):
        recorded = record(leader, slots)
        leader.turn(now)
        leader.turn(now + EVERY_S)
        assert leader.status["learned"]["loads"]["a"] == {"history": recorded.to_plain()}
    assert len([each for each in leader.api.requests if each[0] == "PATCH"]) == 3
    assert leader.fits == 1
    assert [each["type"] for each in leader.status["conditions"]] == ["Fitted", "Season"]


def test_a_service_without_a_profile_gets_one_for_its_load_and_an_idle_one_none(leader: Leader) -> None:
    leader.loads = {("ns", "model"): {"a": LoadHistory.of(0, [0.0] * 20)}}
    leader.turn(0.0)
    assert leader.api.get(PATH) is None
    record(leader, 21)
    leader.turn(300.0)
    assert leader.status["learned"]["loads"]["a"]
    assert leader.fits == 0


def test_the_write_of_a_load_hides_no_small_news_of_traffic_which_may_add_up(leader: Leader) -> None:
    leader.serve(50, 20.0, now=0.0)
    leader.turn(0.0)
    before = leader.status["learned"]["served"]
    leader.serve(50, 20.6, now=1.0)
    recorded = record(leader, 1)
    leader.turn(300.0)
    assert leader.status["learned"]["loads"]["a"]["history"] == recorded.to_plain()
    assert leader.status["learned"]["served"] == before
    assert leader.fits == 1


def test_a_profile_that_somebody_changed_does_not_wait_for_very_many_loads(leader: Leader) -> None:
    leader.loads = {("ns", f"m{number:03}"): {"a": LoadHistory.of(0, [1.0])} for number in range(LOADS_A_TURN + 9)}
    leader.api.create(collection(LATENCY_PROFILES, "ns"), {"metadata": {"name": "model"}, "spec": spec()})
    leader.turn(0.0)
    assert leader.fitted == ("True", "Measured")
    assert len(leader.profiles.snapshot()) == 1 + LOADS_A_TURN
    leader.turn(1.0)
    assert len(leader.profiles.snapshot()) == 1 + LOADS_A_TURN + 9


@pytest.mark.timeout(120)
def test_a_day_is_found_after_two_and_what_can_t_be_fitted_keeps_the_last(leader: Leader) -> None:
    day = [4.0 if slot == 96 else 0.0 for slot in range(SLOTS_A_DAY)]
    leader.loads = {("ns", "model"): {"a": LoadHistory.of(0, day * 2)}}
    leader.turn(0.0)
    leader.turn(EVERY_S)
    found = leader.status["learned"]["loads"]["a"]["season"]
    assert to_season(found).requests_per_s[96] == pytest.approx(4.0, rel=0.1)
    season = leader.book.season("ns", "model", "a")
    assert season is not None
    assert season.to_plain() == found
    assert leader.fits == 1
    leader.broken = "out of memory"
    leader.loads = {("ns", "model"): {"a": LoadHistory.of(0, day * 3)}}
    leader.turn(10_000.0)
    assert leader.status["learned"]["loads"]["a"]["season"] == found
    (said,) = [each for each in leader.status["conditions"] if each["type"] == "Season"]
    assert (said["status"], said["reason"]) == ("True", "NotFitted")
    assert said["message"].startswith("out of memory; the last good season stays in use; ")
    assert leader.book.season("ns", "model", "a") == season


def test_a_write_of_anything_else_leaves_the_loads(leader: Leader) -> None:
    leader.api.create(collection(LATENCY_PROFILES, "ns"), {"metadata": {"name": "model"}, "spec": spec()})
    recorded = record(leader, 3)
    leader.turn(0.0)
    leader.loads = {}
    leader.api.merge(PATH, {"metadata": {"generation": 2}, "spec": spec(level_ms=20.0)})
    leader.turn(100.0)
    assert leader.status["observedGeneration"] == 2
    assert leader.status["learned"]["loads"]["a"]["history"] == recorded.to_plain()
