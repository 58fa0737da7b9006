"""Loads by service: recorded from its revisions, read from its profile, shared among the revisions that are routed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hasgpu.autoscaler.load_book import LoadBook, ServiceRevision
from hasgpu.autoscaler.profile_book import ProfileBook
from hasgpu.cluster.custom import LatencyProfile
from hasgpu.cluster.paths import LATENCY_PROFILES, collection, named
from hasgpu.cluster.reflector import Reflector
from hasgpu.model.keys import RevisionKey
from hasgpu.prediction.season import SLOT_S, SLOTS_A_DAY, LoadHistory, Season
from hasgpu.settings.store import ConfigStore

from tests.autoscaler.profile_leader import until_shown
from tests.cluster.fake_api import FakeApi

PATH = named(LATENCY_PROFILES, "ns", "model")
NOON = 144


def revision(name: str, *, routed: bool = True, profile: str = "model") -> ServiceRevision:
    service = name.rsplit("-", 1)[0]
    return ServiceRevision(key=RevisionKey("ns", name), service=service, profile=profile, routed=routed)


class Loads:
    """A book beside an API server."""

    def __init__(self, api: FakeApi) -> None:
        self.api, self.settings = api, ConfigStore()
        self.profiles = Reflector(api.session(), collection(LATENCY_PROFILES), LatencyProfile).start()
        assert self.profiles.wait_synced(5.0)
        self.book = LoadBook(ProfileBook(self.profiles), self.settings)

    def keep(self, service: str, history: LoadHistory, season: dict[str, Any] | None = None) -> None:
        kept = {"history": history.to_plain(), **({"season": season} if season else {})}
        status = {"learned": {"loads": {service: kept}}}
        if self.api.get(PATH) is None:
            body = {"metadata": {"name": "model"}, "spec": {}, "status": status}
            self.api.create(collection(LATENCY_PROFILES, "ns"), body)
        else:
            self.api.merge(PATH, {"status": status})
        self.settle()

    def settle(self) -> None:
        until_shown(self.api, self.profiles)

    def record(self, slot: int, *heard: tuple[ServiceRevision, float], known: bool = True) -> None:
        self.book.record(slot, heard, known=known)

    def history(self, profile: str = "model", service: str = "a") -> LoadHistory | None:
        return self.book.histories().get(("ns", profile), {}).get(service)

    def awaited(self, of: ServiceRevision) -> float:
        """Just before the noon of the second day."""
        return self.book.awaited_per_s(of, (SLOTS_A_DAY + NOON) * SLOT_S - 5.0, 8.0)


@pytest.fixture
def loads() -> Iterator[Loads]:
    with FakeApi() as api:
        found = Loads(api)
        yield found
        found.profiles.stop()


def noon(rate: float = 4.0) -> dict[str, Any]:
    """Five minutes of load a day."""
    return Season.of((rate if slot == NOON else 0.0 for slot in range(SLOTS_A_DAY)), SLOTS_A_DAY).to_plain()


def test_requests_of_all_revisions_are_the_services(loads: Loads) -> None:
    loads.record(1, (revision("a-00001"), 300.0), (revision("a-00002"), 0.0))
    loads.record(2, (revision("a-00001"), 600.0), (revision("a-00002"), 300.0))
    assert loads.history() == LoadHistory.of(1, [1.0, 2.0])


def test_what_a_revision_had_before_it_left_counts(loads: Loads) -> None:
    loads.record(1, (revision("a-00001"), 300.0), (revision("a-00002"), 0.0))
    loads.book.left(RevisionKey("ns", "a-00001"), 450.0)
    loads.record(2, (revision("a-00002"), 150.0))
    loads.record(3, (revision("a-00002"), 150.0))
    assert loads.history() == LoadHistory.of(1, [1.0, 1.0, 0.0])


def test_five_minutes_that_are_not_known_are_not_recorded_and_don_t_count_later(loads: Loads) -> None:
    loads.record(1, (revision("a-00001"), 300.0))
    loads.record(2, (revision("a-00001"), 5000.0), known=False)
    loads.record(3, (revision("a-00001"), 5300.0))
    history = loads.history()
    assert history is not None
    assert history.codes == LoadHistory.of(1, [1.0, float("nan"), 1.0]).codes


def test_a_history_goes_on_where_another_leader_left_it_and_with_the_services_next_profile(loads: Loads) -> None:
    loads.keep("a", LoadHistory.of(0, [1.0, 1.0]))
    loads.record(2, (revision("a-00001"), 300.0))
    assert loads.history() == LoadHistory.of(0, [1.0, 1.0, 1.0])
    loads.record(3, (revision("a-00001", routed=False), 300.0), (revision("a-00002", profile="other"), 300.0))
    assert loads.history() is None
    assert loads.history("other") == LoadHistory.of(0, [1.0, 1.0, 1.0, 1.0])


def test_who_deletes_the_profile_begins_anew(loads: Loads) -> None:
    loads.keep("a", LoadHistory.of(0, [1.0, 1.0]), noon())
    loads.record(2, (revision("a-00001"), 300.0))
    assert loads.awaited(revision("a-00001")) > 0.0
    loads.api.delete(PATH)
    loads.settle()
    assert loads.awaited(revision("a-00001")) == 0.0
    loads.record(3, (revision("a-00001"), 600.0))
    assert loads.history() == LoadHistory.of(3, [1.0])


def test_a_profile_that_was_deleted_is_not_made_again_for_its_loads(loads: Loads) -> None:
    loads.keep("a", LoadHistory.of(0, [1.0, 1.0]))
    loads.record(2, (revision("a-00001"), 300.0))
    assert loads.history() is not None
    loads.api.delete(PATH)
    loads.settle()
    assert loads.history() is None


def test_after_a_rollout_the_new_revision_has_what_comes_now(loads: Loads) -> None:
    """Though the old one, which a tag still leads to, had all that came in a week."""
    loads.keep("a", LoadHistory(), noon())
    loads.record(1, (revision("a-00001"), 600_000.0))
    loads.record(2, (revision("a-00001"), 600_000.0), (revision("a-00002"), 300.0))
    loads.record(3, (revision("a-00001"), 600_000.0), (revision("a-00002"), 300.0))
    assert loads.awaited(revision("a-00002")) == pytest.approx(4.0, rel=0.03)
    assert loads.awaited(revision("a-00001")) == 0.0


def test_a_service_that_is_gone_is_forgotten(loads: Loads) -> None:
    loads.record(1, (revision("a-00001"), 300.0), (revision("b-00001"), 300.0))
    loads.record(2, (revision("b-00001"), 300.0))
    assert loads.history(service="a") is None
    assert loads.history(service="b") is not None


@pytest.mark.parametrize(
    ("heard", "of", "part"),
    [
        pytest.param([("a-00001", True, 300.0)], "a-00001", 1.0, id="one revision has all of it"),
        pytest.param([("a-00001", True, 0.0), ("a-00002", True, 0.0)], "a-00002", 0.5, id="two that had none, halves"),
        pytest.param([("a-00001", True, 30.0), ("a-00002", True, 270.0)], "a-00001", 0.1, id="else as they had"),
        pytest.param([("a-00001", False, 300.0), ("a-00002", True, 0.0)], "a-00002", 1.0, id="a successor all of it"),
        pytest.param([("a-00001", True, 300.0)], "a-00002", 1.0, id="also before it was counted"),
    ],
)
def test_a_season_is_shared_among_the_revisions_that_requests_come_to(
    loads: Loads, heard: list[tuple[str, bool, float]], of: str, part: float
) -> None:
    loads.keep("a", LoadHistory(), noon())
    loads.record(1, *[(revision(name, routed=routed), requests) for name, routed, requests in heard])
    assert loads.awaited(revision(of)) == pytest.approx(4.0 * part, rel=0.03)


def test_nothing_is_awaited_where_nothing_is_routed_to(loads: Loads) -> None:
    loads.keep("a", LoadHistory(), noon())
    assert loads.awaited(revision("a-00001", routed=False)) == 0.0


@pytest.mark.parametrize(
    ("setting", "records", "awaits"),
    [
        pytest.param("prewarm", True, True, id="by default both"),
        pytest.param("record", True, False, id="record only records"),
        pytest.param("off", False, False, id="off does neither"),
    ],
)
def test_the_setting_season_turns_it_off(loads: Loads, setting: str, records: bool, awaits: bool) -> None:
    loads.settings.put("config-hasgpu", {"season": setting})
    loads.keep("a", LoadHistory(), noon())
    loads.record(1, (revision("a-00001"), 300.0))
    assert (loads.history() is not None) is records
    assert (loads.awaited(revision("a-00001")) > 0.0) is awaits
    loads.settings.put("config-hasgpu", {})
    loads.record(2, (revision("a-00001"), 600.0))
    history = loads.history()
    assert history is not None
    assert history.since(2) == pytest.approx([1.0], rel=0.03)


def test_a_season_that_is_spoilt_is_told_and_the_last_good_one_stays_in_use(loads: Loads) -> None:
    loads.keep("a", LoadHistory(), noon())
    before = loads.awaited(revision("a-00001"))
    loads.keep("a", LoadHistory(), {"means": "spoilt", "fittedSlot": 1})
    assert loads.awaited(revision("a-00001")) == before > 0.0
    problem = loads.book._book.profile("ns", "model")[1]
    assert problem.startswith("LatencyProfile ns/model: status.learned.loads.a.season: ")
    loads.keep("a", LoadHistory(), noon(8.0))
    assert loads.awaited(revision("a-00001")) == pytest.approx(2.0 * before, rel=0.06)
    assert loads.book._book.profile("ns", "model")[1] == ""


def test_a_new_leader_begins_with_what_objects_say(loads: Loads) -> None:
    loads.record(1, (revision("a-00001"), 300.0))
    loads.keep("a", LoadHistory.of(5, [2.0]))
    loads.book.clear()
    assert loads.history() is None
    loads.record(6, (revision("a-00001"), 300.0), known=False)
    assert loads.history() == LoadHistory.of(5, [2.0])
