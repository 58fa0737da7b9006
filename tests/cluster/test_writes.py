"""Sessions, patches, status writes, leases and Events against a server that conflicts, refuses and vanishes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, Literal

import pytest
from hasgpu.cluster import patch
from hasgpu.cluster.errors import ClusterError, Conflict, NotFound, NotReached, Refused, TooManyRequests, Unreachable
from hasgpu.cluster.events import BURST, EventRecorder, Regarding
from hasgpu.cluster.lease import Elector
from hasgpu.cluster.objects import ConfigMap, Pod
from hasgpu.cluster.paths import CONFIG_MAPS, DEPLOYMENTS, EVENTS, LEASES, PODS, collection, named
from hasgpu.cluster.session import Session

from tests.cluster.fake_api import FakeApi

POD = named(PODS, "default", "a")


@pytest.fixture
def api() -> Iterator[FakeApi]:
    with FakeApi() as fake:
        fake.create(collection(PODS, "default"), {"metadata": {"name": "a", "annotations": {"x/y": "1"}}})
        yield fake


def until(holds: Callable[[], object], timeout_s: float = 5.0) -> None:
    ends_at = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < ends_at, "it never came true"
        time.sleep(0.005)


@pytest.mark.parametrize(
    ("code", "error"),
    [
        pytest.param(404, NotFound, id="404 is not found"),
        pytest.param(409, Conflict, id="409 is a conflict"),
        pytest.param(403, Refused, id="403 is refused"),
        pytest.param(422, Refused, id="422 is refused"),
        pytest.param(429, TooManyRequests, id="429 asks for patience"),
        pytest.param(500, Unreachable, id="500 may or may not have been carried out"),
    ],
)
def test_an_http_error_says_who_is_at_fault(api: FakeApi, code: int, error: type[ClusterError]) -> None:
    api.fail_next("GET", "/pods/a", code, "Because")
    with pytest.raises(error, match=rf"GET {POD}: {code} Because") as caught:
        api.session().get(POD, Pod)
    assert (caught.value.status, caught.value.reason) == (code, "Because")


def test_a_server_that_is_not_there_is_unreachable() -> None:
    with pytest.raises(NotReached, match="GET /api/v1/pods"):
        Session("http://127.0.0.1:1").request("GET", "/api/v1/pods", timeout_s=1)


def test_a_server_that_never_answers_is_unreachable_after_the_timeout(api: FakeApi) -> None:
    api.freeze()
    with pytest.raises(Unreachable) as caught:
        api.session().request("GET", POD, timeout_s=0.2)
    assert not isinstance(caught.value, NotReached)


def test_the_token_is_asked_for_at_every_request(api: FakeApi) -> None:
    asked: list[int] = []

    def authorization() -> str:
        asked.append(1)
        return "Bearer t"

    session = Session(api.url, authorization=authorization)
    session.get(POD, Pod)
    session.get(POD, Pod)
    assert len(asked) == 2


def test_a_json_patch_is_all_or_nothing(api: FakeApi) -> None:
    key = patch.pointer("metadata", "annotations", "x/y")
    assert key == "/metadata/annotations/x~1y"
    with pytest.raises(Refused) as caught:
        patch.json_patch(api.session(), POD, [patch.test(key, "2"), patch.replace(key, "3")])
    assert caught.value.status == 422
    patch.json_patch(api.session(), POD, [patch.test(key, "1"), patch.replace(key, "3"), patch.add("/spec", {})])
    assert (api.get(POD) or {})["metadata"]["annotations"] == {"x/y": "3"}
    patch.json_patch(api.session(), POD, [patch.remove(key)])
    assert (api.get(POD) or {})["metadata"]["annotations"] == {}


def test_a_scale_patch_changes_the_replicas(api: FakeApi) -> None:
    api.create(collection(DEPLOYMENTS, "default"), {"metadata": {"name": "d"}, "spec": {"replicas": 1}})
    path = named(DEPLOYMENTS, "default", "d", "scale")
    patch.json_patch(api.session(), path, [patch.replace("/spec/replicas", 3)])
    assert (api.get(named(DEPLOYMENTS, "default", "d")) or {})["spec"] == {"replicas": 3}


def test_a_status_write_reads_again_after_a_conflict_and_keeps_unknown_fields(api: FakeApi) -> None:
    api.merge(POD, {"spec": {"fieldWeDoNotKnow": 1}})
    api.fail_next("PUT", "/status", 409, "Conflict", times=2)
    assert patch.put_status(api.session(), POD, lambda found: {"phase": "Running"})
    found = api.get(POD) or {}
    assert found["status"] == {"phase": "Running"}
    assert found["spec"] == {"fieldWeDoNotKnow": 1}


def test_a_status_that_would_not_change_is_not_written(api: FakeApi) -> None:
    api.merge(POD, {"status": {"phase": "Running"}})
    assert not patch.put_status(api.session(), POD, lambda found: {"phase": "Running"})
    assert not patch.put_status(api.session(), POD, lambda found: None)
    assert not [each for each in api.requests if each[0] == "PUT"]


def test_server_side_apply_names_its_manager(api: FakeApi) -> None:
    path = named(CONFIG_MAPS, "default", "c")
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"k": "v"}}
    patch.server_side_apply(api.session(), path, body, field_manager="hasgpu-install")
    assert api.requests[-1][2] == {"fieldManager": "hasgpu-install", "force": "true"}
    assert api.session().get(path, ConfigMap).data == {"k": "v"}


class Candidate:
    """An elector on fast periods, and what it told."""

    def __init__(self, api: FakeApi, identity: str) -> None:
        self.told: list[str] = []
        self.wall_clock_offset_s = 0.0
        self.elector = Elector(
            api.session(),
            namespace="ns",
            name="allocator",
            identity=identity,
            lease_duration_s=1.0,
            renew_deadline_s=0.5,
            retry_period_s=0.05,
            on_gained=lambda: self.told.append("gained"),
            on_lost=lambda: self.told.append("lost"),
            clock=lambda: time.time() + self.wall_clock_offset_s,
        )

    @property
    def leads(self) -> bool:
        return self.elector.still_leading()


@pytest.fixture
def candidates(api: FakeApi) -> Iterator[tuple[Candidate, Candidate]]:
    pair = Candidate(api, "a_10.0.0.1"), Candidate(api, "b_10.0.0.2")
    yield pair
    for each in pair:
        each.elector.stop()


@pytest.fixture
def leader(candidates: tuple[Candidate, Candidate]) -> Candidate:
    first, _ = candidates
    first.elector.start()
    until(lambda: first.leads)
    return first


def lease(api: FakeApi) -> dict[str, Any]:
    return (api.get(named(LEASES, "ns", "allocator")) or {}).get("spec", {})


def test_one_leads_the_other_waits_and_takes_over_at_once_when_it_is_released(
    api: FakeApi, candidates: tuple[Candidate, Candidate]
) -> None:
    first, second = candidates
    first.elector.start()
    until(lambda: first.leads)
    second.elector.start()
    until(lambda: second.elector.holder == "a_10.0.0.1")
    assert not second.leads
    first.elector.stop()
    assert first.told == ["gained", "lost"]
    until(lambda: second.leads, timeout_s=0.9)
    assert lease(api)["holderIdentity"] == "b_10.0.0.2"
    assert lease(api)["leaseTransitions"] == 1


def test_a_leader_that_cannot_renew_stops_leading_before_another_may_start(
    api: FakeApi, candidates: tuple[Candidate, Candidate]
) -> None:
    first, second = candidates
    first.elector.start()
    until(lambda: first.leads)
    api.fail_next("PUT", "/leases/allocator", 503, times=1000)
    until(lambda: not first.leads)
    assert lease(api)["holderIdentity"] == "a_10.0.0.1"
    second.elector.start()
    time.sleep(0.1)
    assert not second.leads


def test_silence_past_the_deadline_is_doubt_and_the_answer_that_ends_it_is_a_gain(
    api: FakeApi, leader: Candidate
) -> None:
    api.freeze()
    until(lambda: leader.elector.leading is None)
    assert leader.told == ["gained"]
    api.thaw()
    until(lambda: leader.elector.leading is True)
    until(lambda: leader.told == ["gained", "gained"])


def test_doubt_ends_as_a_loss_where_another_took_the_lease_meanwhile(api: FakeApi, leader: Candidate) -> None:
    api.freeze()
    until(lambda: leader.elector.leading is None)
    api.merge(named(LEASES, "ns", "allocator"), {"spec": {"holderIdentity": "b_10.0.0.2"}})
    api.thaw()
    until(lambda: leader.told == ["gained", "lost"])
    assert leader.elector.leading is False


def test_doubt_ends_as_a_loss_and_a_gain_where_another_had_the_lease_and_gave_it_back(
    api: FakeApi, leader: Candidate
) -> None:
    api.freeze()
    until(lambda: leader.elector.leading is None)
    api.merge(named(LEASES, "ns", "allocator"), {"spec": {"holderIdentity": "", "leaseTransitions": 1}})
    api.thaw()
    until(lambda: leader.leads)
    until(lambda: leader.told == ["gained", "lost", "gained"])


def test_an_unanswered_round_is_repeated_within_a_second_not_after_a_long_period(api: FakeApi) -> None:
    periods = {"lease_duration_s": 60, "renew_deadline_s": 40, "retry_period_s": 10}
    elector = Elector(api.session(), namespace="ns", name="slow", identity="i", **periods)
    api.freeze()
    elector.start()
    until(lambda: api.requests)
    api.thaw()
    until(elector.still_leading, timeout_s=6.0)
    elector.stop()


@pytest.mark.parametrize("step_s", [pytest.param(-3600.0, id="set back"), pytest.param(3600.0, id="set forward")])
def test_a_wall_clock_that_is_set_makes_no_leadership_longer_or_shorter(
    api: FakeApi, leader: Candidate, step_s: float
) -> None:
    leader.wall_clock_offset_s = step_s
    time.sleep(0.3)
    assert leader.told == ["gained"]
    assert leader.leads
    api.fail_next("PUT", "/leases/allocator", 503, times=1000)
    until(lambda: not leader.leads, timeout_s=0.9)


def test_the_fence_falls_even_while_the_elector_hangs_in_a_request(api: FakeApi, leader: Candidate) -> None:
    assert not leader.elector.still_leading(in_s=0.6)


def test_an_expired_lease_of_a_dead_holder_is_taken_after_its_duration_as_we_saw_it(
    api: FakeApi, candidates: tuple[Candidate, Candidate]
) -> None:
    # The dead holder's clock was years ahead: only what we observe counts.
    api.create(
        collection(LEASES, "ns"),
        {
            "metadata": {"name": "allocator"},
            "spec": {"holderIdentity": "dead", "leaseDurationSeconds": 1, "renewTime": "2099-01-01T00:00:00.000000Z"},
        },
    )
    started_at = time.monotonic()
    candidates[0].elector.start()
    until(lambda: candidates[0].leads)
    assert time.monotonic() - started_at >= 1.0


def test_a_leader_renews_without_reading_what_it_wrote_itself(api: FakeApi, leader: Candidate) -> None:
    begun = len(api.requests)
    until(lambda: len(api.requests) >= begun + 4)
    assert {method for method, *_ in api.requests[begun:]} == {"PUT"}
    assert leader.told == ["gained"]


def test_a_leader_whose_lease_was_edited_keeps_both_the_lease_and_the_edit(api: FakeApi, leader: Candidate) -> None:
    api.merge(named(LEASES, "ns", "allocator"), {"metadata": {"labels": {"team": "gpu"}}})
    renewed = lease(api)["renewTime"]
    until(lambda: lease(api)["renewTime"] != renewed)
    assert (api.get(named(LEASES, "ns", "allocator")) or {})["metadata"]["labels"] == {"team": "gpu"}
    assert (leader.leads, leader.told) == (True, ["gained"])


def test_a_leader_whose_lease_was_taken_stops_to_lead(api: FakeApi, leader: Candidate) -> None:
    api.merge(named(LEASES, "ns", "allocator"), {"spec": {"holderIdentity": "b_10.0.0.2"}})
    until(lambda: leader.told == ["gained", "lost"])
    assert lease(api)["holderIdentity"] == "b_10.0.0.2"


def test_a_leader_whose_lease_was_deleted_makes_it_again(api: FakeApi, leader: Candidate) -> None:
    api.delete(named(LEASES, "ns", "allocator"))
    until(lambda: lease(api).get("holderIdentity") == "a_10.0.0.1")
    assert leader.leads


def test_a_lease_needs_periods_in_their_order(api: FakeApi) -> None:
    with pytest.raises(ValueError, match="retry period < renew deadline < lease duration"):
        Elector(api.session(), namespace="n", name="l", identity="i", lease_duration_s=5, renew_deadline_s=10)


REGARDING = Regarding(api_version="serving.knative.dev/v1", kind="Revision", namespace="default", name="r", uid="u")


@pytest.fixture
def recorder(api: FakeApi) -> Iterator[EventRecorder]:
    recorder = EventRecorder(api.session(), "hasgpu").start()
    yield recorder
    recorder.stop()


def test_the_same_story_told_twice_is_one_event_with_a_count(api: FakeApi, recorder: EventRecorder) -> None:
    recorder.event(REGARDING, "Normal", "QuotaChanged", "30% -> 60%")
    recorder.event(REGARDING, "Normal", "QuotaChanged", "30% -> 60%")
    recorder.event(REGARDING, "Warning", "NoRoom", "no GPU has 20% of its SMs free")
    assert recorder.flush(5)
    events = sorted(api.list(collection(EVENTS, "default")), key=lambda each: each["reason"])
    assert [(each["reason"], each["type"], each["count"]) for each in events] == [
        ("NoRoom", "Warning", 1),
        ("QuotaChanged", "Normal", 2),
    ]
    assert events[0]["involvedObject"]["uid"] == "u"


def test_an_event_that_the_server_forgot_is_made_again(api: FakeApi, recorder: EventRecorder) -> None:
    recorder.event(REGARDING, "Normal", "Placed", "on GPU-1")
    assert recorder.flush(5)
    api.delete(named(EVENTS, "default", api.list(collection(EVENTS, "default"))[0]["metadata"]["name"]))
    recorder.event(REGARDING, "Normal", "Placed", "on GPU-1")
    assert recorder.flush(5)
    assert len(api.list(collection(EVENTS, "default"))) == 1


def test_an_object_that_talks_too_much_is_cut_short_and_counted(api: FakeApi, recorder: EventRecorder) -> None:
    for index in range(BURST + 5):
        recorder.event(REGARDING, "Normal", "Chatter", f"number {index}")
    assert recorder.flush(5)
    assert len(api.list(collection(EVENTS, "default"))) == BURST
    assert recorder.dropped == 5


@pytest.mark.parametrize(
    ("type", "wait_s", "told"),
    [
        pytest.param("Normal", 299.0, BURST, id="what is normal is told once in five minutes"),
        pytest.param("Normal", 301.0, BURST + 1, id="and then again"),
        pytest.param("Warning", 11.0, BURST + 1, id="a warning waits no ten seconds, whatever else was told"),
    ],
)
def test_an_object_that_goes_on_talking_is_heard_now_and_then(
    api: FakeApi, type: Literal["Normal", "Warning"], wait_s: float, told: int
) -> None:
    now = [1000.0]
    recorder = EventRecorder(api.session(), "hasgpu", clock=lambda: now[0]).start()
    for index in range(BURST + 5):
        recorder.event(REGARDING, type, "Chatter", f"number {index}")
    assert recorder.flush(5)
    now[0] += wait_s
    for index in range(2):
        recorder.event(REGARDING, type, "Chatter", f"later {index}")
    assert recorder.flush(5)
    recorder.stop()
    assert len(api.list(collection(EVENTS, "default"))) == told


def test_a_server_that_refuses_events_costs_only_the_events(api: FakeApi, recorder: EventRecorder) -> None:
    api.fail_next("POST", "/events", 403)
    recorder.event(REGARDING, "Normal", "Placed", "on GPU-1")
    assert recorder.flush(5)
    assert recorder.dropped == 1
