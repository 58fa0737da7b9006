"""Profiles on the fake API server: fitted, broken, learnt from traffic; and what is believed of them meanwhile."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hasgpu.autoscaler.fitter_child import run_fitter
from hasgpu.autoscaler.profile_fitting import EVERY_S
from hasgpu.cluster.paths import LATENCY_PROFILES, collection

from tests.autoscaler.profile_leader import L4, PATH, V100, Leader, spec


def test_a_new_profile_is_fitted_once_and_says_its_error(leader: Leader) -> None:
    leader.api.create(collection(LATENCY_PROFILES, "ns"), {"metadata": {"name": "model"}, "spec": spec()})
    leader.turn(0.0)
    leader.turn(1.0)
    assert leader.fitted == ("True", "Measured")
    assert leader.status["observedGeneration"] == 1
    assert 0.0 < leader.status["error"]["medianPercent"] < 20.0
    assert leader.fits == 1
    believed = leader.believed()
    assert believed.surface.work_s(1, 50) == pytest.approx(0.010 * 2**0.8, rel=0.05)
    assert not believed.from_traffic


def test_a_profile_serves_from_its_cells_until_it_is_fitted(leader: Leader) -> None:
    leader.api.create(collection(LATENCY_PROFILES, "ns"), {"metadata": {"name": "model"}, "spec": spec()})
    leader.settle()
    assert leader.believed().surface.work_s(1, 30) == pytest.approx(0.010 * (100 / 30) ** 0.8)


def test_a_changed_profile_takes_effect(leader: Leader) -> None:
    leader.api.create(collection(LATENCY_PROFILES, "ns"), {"metadata": {"name": "model"}, "spec": spec()})
    leader.turn(0.0)
    before = leader.believed()
    leader.api.merge(PATH, {"metadata": {"generation": 2}, "spec": spec(level_ms=20.0)})
    leader.turn(2.0)
    after = leader.believed()
    assert after.surface.work_s(1, 30) == pytest.approx(2.0 * before.surface.work_s(1, 30), rel=0.05)
    assert after.version != before.version


def test_a_broken_profile_keeps_its_last_good_fit_also_for_the_next_leader(leader: Leader) -> None:
    leader.api.create(collection(LATENCY_PROFILES, "ns"), {"metadata": {"name": "model"}, "spec": spec()})
    leader.turn(0.0)
    before = leader.believed()
    leader.api.merge(PATH, {"metadata": {"generation": 2}, "spec": spec(window="0ms")})
    leader.turn(2.0)
    assert leader.fitted == ("False", "Broken")
    assert "window must be above 0" in leader.status["conditions"][0]["message"]
    assert leader.status["observedGeneration"] == 2
    assert leader.believed().surface == before.surface
    assert leader.book.profile("ns", "model")[1] != ""
    leader.book.clear()
    assert leader.believed().surface == before.surface


def test_another_products_fit_is_used_where_there_is_none_and_says_so(leader: Leader) -> None:
    leader.api.create(collection(LATENCY_PROFILES, "ns"), {"metadata": {"name": "model"}, "spec": spec()})
    leader.turn(0.0)
    surface = leader.believed(L4).surface
    assert surface.foreign
    assert surface.spread(1, 50) >= 0.5


def test_a_service_without_a_profile_gets_one_from_its_traffic(leader: Leader) -> None:
    assert leader.book.believed("ns", "model", V100, 0.0) is None
    leader.serve(50, 20.0, now=0.0)
    assert leader.believed().surface.work_s(1, 50) == pytest.approx(0.020)
    leader.turn(0.0)
    found = leader.api.get(PATH)
    assert found is not None
    assert found["metadata"]["labels"] == {"hasgpu.dev/learned": "true"}
    assert leader.fitted == ("True", "Served")
    believed = leader.believed()
    assert believed.from_traffic
    assert believed.surface.work_s(1, 50) == pytest.approx(0.020, rel=0.05)
    # One share tells the level; the shape is that of known models.
    assert 0.030 < believed.surface.work_s(1, 20) < 0.055


def test_what_traffic_taught_outlives_its_leader_and_is_written_once_a_minute_at_most(leader: Leader) -> None:
    leader.serve(50, 20.0, now=0.0)
    leader.turn(0.0)
    leader.serve(20, 45.0, now=5.0)
    leader.turn(5.0)
    assert [each["sm"] for each in leader.status["learned"]["served"][V100]] == [50]
    leader.turn(EVERY_S + 1.0)
    assert [each["sm"] for each in leader.status["learned"]["served"][V100]] == [20, 50]
    before = leader.believed(now=EVERY_S + 1.0)
    leader.book.clear()
    again = leader.believed(now=EVERY_S + 1.0)
    assert again.surface.work_s(1, 20) == pytest.approx(before.surface.work_s(1, 20), rel=0.02)


def test_a_new_leader_that_has_looked_at_nothing_yet_erases_nothing(leader: Leader) -> None:
    leader.serve(50, 20.0, now=0.0)
    leader.turn(0.0)
    before = leader.status
    leader.book.clear()
    leader.api.merge(PATH, {"metadata": {"generation": 2}, "spec": {"memory": "1Gi"}})
    leader.turn(20.0)
    assert leader.status["observedGeneration"] == 2
    assert leader.status["learned"]["served"] == before["learned"]["served"]
    assert leader.fitted == ("True", "Served")


@pytest.mark.parametrize(
    "served",
    [
        pytest.param({V100: [{"sm": "all of it"}], L4: "none"}, id="shares that make no sense"),
        pytest.param([V100], id="no products"),
    ],
)
def test_what_a_spoilt_status_says_was_served_is_not_kept(leader: Leader, served: object) -> None:
    status = {"learned": {"served": served}}
    leader.api.create(collection(LATENCY_PROFILES, "ns"), {"metadata": {"name": "model"}, "spec": {}, "status": status})
    leader.turn(0.0)
    assert leader.fitted == ("False", "NoCells")
    assert leader.status["learned"]["served"] == {}


def test_a_learned_profile_that_is_deleted_stays_away_until_traffic_teaches_anew(leader: Leader) -> None:
    leader.serve(50, 20.0, now=0.0)
    leader.turn(0.0)
    assert leader.believed().surface.work_s(1, 50) == pytest.approx(0.020, rel=0.05)
    leader.api.delete(PATH)
    leader.turn(EVERY_S + 1.0)
    assert leader.api.get(PATH) is None
    assert leader.book.believed("ns", "model", V100, EVERY_S + 1.0) is None
    leader.serve(50, 40.0, now=100.0)
    leader.turn(100.0)
    (share,) = leader.status["learned"]["served"][V100]
    assert (share["workMs"], share["requests"]) == (40.0, 60.0)


def test_a_profile_that_is_deleted_and_made_again_at_once_begins_anew(leader: Leader) -> None:
    leader.api.create(collection(LATENCY_PROFILES, "ns"), {"metadata": {"name": "model"}, "spec": spec()})
    leader.serve(50, 90.0, now=0.0)
    leader.turn(0.0)
    wrong = leader.believed().surface.work_s(1, 50)
    leader.api.delete(PATH)
    leader.api.create(collection(LATENCY_PROFILES, "ns"), {"metadata": {"name": "model"}, "spec": spec()})
    leader.turn(20.0)
    assert leader.status["learned"]["served"] == {}
    assert leader.believed(now=20.0).surface.work_s(1, 50) == pytest.approx(0.010 * 2**0.8, rel=0.05) != wrong


def test_no_profile_is_made_for_services_that_are_gone_and_nothing_is_remembered_of_them(leader: Leader) -> None:
    leader.serve(50, 20.0, now=0.0)
    leader.api.fail_next("POST", "/namespaces/ns/latencyprofiles", 404, "NamespaceGone", times=3)
    leader.turn(0.0)
    leader.book.keep_only(set())
    leader.api.requests.clear()
    leader.turn(EVERY_S + 1.0)
    assert not [each for each in leader.api.requests if each[0] == "POST"]
    assert (leader.book.served(), leader.fitting._last) == ({}, {})


def test_what_its_object_keeps_is_known_again_when_a_service_comes_back(leader: Leader) -> None:
    leader.serve(50, 20.0, now=0.0)
    leader.turn(0.0)
    leader.book.keep_only(set())
    leader.turn(EVERY_S + 1.0)
    leader.book.keep_only({("ns", "model")})
    assert leader.believed(now=EVERY_S + 1.0).surface.work_s(1, 50) == pytest.approx(0.020, rel=0.05)


def test_a_profile_wrong_by_thirty_percent_heals_and_is_not_fitted_again(leader: Leader) -> None:
    leader.api.create(collection(LATENCY_PROFILES, "ns"), {"metadata": {"name": "model"}, "spec": spec()})
    leader.turn(0.0)
    true_ms = 1.3 * 10.0 * 2**0.8
    for window in range(15):
        leader.serve(50, true_ms, now=float(window))
    believed = leader.believed(now=15.0)
    assert believed.surface.work_s(1, 50) == pytest.approx(true_ms / 1e3, rel=0.03)
    assert believed.surface.work_s(1, 20) == pytest.approx(0.013 * 5**0.8, rel=0.1)
    leader.turn(EVERY_S)
    assert leader.status["learned"]["served"][V100]
    assert leader.fits == 1


def test_small_news_make_no_new_tables(leader: Leader) -> None:
    leader.api.create(collection(LATENCY_PROFILES, "ns"), {"metadata": {"name": "model"}, "spec": spec()})
    leader.turn(0.0)
    leader.serve(50, 10.0 * 2**0.8, now=0.0)
    version = leader.believed(now=0.0).version
    for window in range(20):
        leader.serve(50, 10.2 * 2**0.8, now=float(window))
        assert leader.believed(now=float(window)).version == version


def test_a_service_without_a_profile_is_predicted_at_once_and_written_when_it_is_sure(leader: Leader) -> None:
    leader.serve(50, 20.0, now=0.0, requests=20.0)
    leader.turn(0.0)
    assert leader.believed().surface.work_s(1, 50) == pytest.approx(0.020)
    assert leader.api.get(PATH) is None


def test_nothing_is_written_by_one_who_does_not_lead(leader: Leader) -> None:
    leader.api.create(collection(LATENCY_PROFILES, "ns"), {"metadata": {"name": "model"}, "spec": spec()})
    leader.leading = False
    leader.turn(0.0)
    found = leader.api.get(PATH)
    assert found is not None
    assert "status" not in found


def test_a_spoilt_status_is_told_and_harms_nothing(leader: Leader) -> None:
    body = {"metadata": {"name": "model"}, "spec": spec(), "status": {"learned": {"fits": {V100: {"version": 7}}}}}
    leader.api.create(collection(LATENCY_PROFILES, "ns"), body)
    leader.settle()
    assert "version must be 1" in leader.book.profile("ns", "model")[1]
    assert leader.believed().surface.work_s(1, 100) == pytest.approx(0.010)


@pytest.mark.parametrize("order", [pytest.param(b"{", id="no JSON"), pytest.param(b"", id="nothing")])
def test_the_child_answers_whatever_it_is_asked(order: bytes) -> None:
    assert b"problem" in run_fitter(order)


def test_the_autoscaler_loads_no_fitter() -> None:
    code = "import sys, hasgpu.autoscaler.__main__; print(*(m for m in sys.modules if m.startswith(%r)))"
    found = subprocess.run(
        [sys.executable, "-c", code % (("hasgpu.fitter", "sklearn", "scipy", "statsmodels"),)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.strip() == ""
