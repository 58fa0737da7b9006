"""The local copy of a collection: complete, never going back, and honest about silence."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest
from hasgpu.cluster.objects import Pod
from hasgpu.cluster.paths import PODS, collection, named
from hasgpu.cluster.reflector import PAGE_SIZE, Reflector

from tests.cluster.fake_api import FakeApi

ALL_PODS = collection(PODS)
DEFAULT_PODS = collection(PODS, "default")


@pytest.fixture
def api() -> Iterator[FakeApi]:
    with FakeApi() as fake:
        yield fake


class Heard:
    """What a listener was told, and a way to wait for it."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []
        self._changed = threading.Condition()

    def __call__(self, kind: str, old: Pod | None, new: Pod | None) -> None:
        subject = new or old
        assert subject is not None
        with self._changed:
            self.events.append((kind, subject.metadata.name))
            self._changed.notify_all()

    def wait(self, kind: str, name: str, timeout_s: float = 5.0) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: (kind, name) in self.events, timeout_s), self.events


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def reflect(api: FakeApi, heard: Heard) -> Iterator[Callable[..., Reflector[Pod]]]:
    running: list[Reflector[Pod]] = []

    def start(**options: object) -> Reflector[Pod]:
        options = {"backoff_first_s": 0.02, "on_event": heard, **options}
        reflector = Reflector(api.session(), ALL_PODS, Pod, **options)  # type: ignore[arg-type]
        running.append(reflector.start())
        return reflector

    yield start
    for each in running:
        each.stop()


def until(holds: Callable[[], bool], timeout_s: float = 5.0) -> None:
    ends_at = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < ends_at, "it never came true"
        time.sleep(0.005)


def test_what_was_there_before_is_listed_and_what_comes_later_is_watched(
    api: FakeApi, heard: Heard, reflect: Callable[..., Reflector[Pod]]
) -> None:
    api.create(
        DEFAULT_PODS, {"metadata": {"name": "early"}, "spec": {"nodeName": "n1"}, "status": {"podIP": "10.0.0.1"}}
    )
    reflector = reflect()
    assert reflector.wait_synced(5)
    api.create(DEFAULT_PODS, {"metadata": {"name": "late"}})
    heard.wait("ADDED", "late")
    early = reflector.get("default", "early")
    assert early is not None
    assert (early.spec.node_name, early.status.pod_ip) == ("n1", "10.0.0.1")
    api.merge(named(PODS, "default", "late"), {"metadata": {"annotations": {"k": "v"}}})
    heard.wait("MODIFIED", "late")
    late = reflector.get("default", "late")
    assert late is not None
    assert late.metadata.annotations == {"k": "v"}
    api.delete(named(PODS, "default", "late"))
    heard.wait("DELETED", "late")
    assert [each.metadata.name for each in reflector.snapshot()] == ["early"]


def test_a_list_longer_than_a_page_comes_whole(api: FakeApi, reflect: Callable[..., Reflector[Pod]]) -> None:
    for index in range(PAGE_SIZE + 3):
        api.create(DEFAULT_PODS, {"metadata": {"name": f"p{index}"}})
    reflector = reflect()
    assert reflector.wait_synced(10)
    assert len(reflector.snapshot()) == PAGE_SIZE + 3


def test_after_410_it_lists_again_and_tells_what_went_meanwhile(
    api: FakeApi, heard: Heard, reflect: Callable[..., Reflector[Pod]]
) -> None:
    api.create(DEFAULT_PODS, {"metadata": {"name": "goes"}})
    reflector = reflect()
    assert reflector.wait_synced(5)
    api.wait_watchers()
    with api.changed:
        api.store.objects[PODS].clear()
        api.create(DEFAULT_PODS, {"metadata": {"name": "comes"}})
        api.compact()
    heard.wait("DELETED", "goes")
    heard.wait("ADDED", "comes")


def test_only_the_first_list_may_come_from_the_servers_memory(
    api: FakeApi, heard: Heard, reflect: Callable[..., Reflector[Pod]]
) -> None:
    for index in range(PAGE_SIZE + 1):
        api.create(DEFAULT_PODS, {"metadata": {"name": f"p{index}"}})
    assert reflect().wait_synced(10)
    api.wait_watchers()
    with api.changed:
        api.create(DEFAULT_PODS, {"metadata": {"name": "comes"}})
        api.compact()
    heard.wait("ADDED", "comes")
    lists = [query for method, path, query in api.requests if method == "GET" and "watch" not in query]
    first, first_continued, *later = lists
    assert (first["resourceVersion"], "continue" in first_continued) == ("0", True)
    assert not any("resourceVersion" in query for query in (first_continued, *later))


def test_a_410_answer_to_the_watch_request_itself_lists_again(
    api: FakeApi, heard: Heard, reflect: Callable[..., Reflector[Pod]]
) -> None:
    reflector = reflect()
    assert reflector.wait_synced(5)
    api.wait_watchers()
    api.fail_next("GET", "/pods", 410, "Expired")
    api.compact()
    api.create(DEFAULT_PODS, {"metadata": {"name": "later"}})
    heard.wait("ADDED", "later")


def test_a_bookmark_moves_the_point_a_later_watch_starts_from(
    api: FakeApi, reflect: Callable[..., Reflector[Pod]]
) -> None:
    reflector = reflect()
    assert reflector.wait_synced(5)
    api.wait_watchers()
    version = api.bookmark(PODS)
    until(lambda: reflector._resource_version == str(version))


def test_an_event_older_than_what_we_have_changes_nothing(
    api: FakeApi, heard: Heard, reflect: Callable[..., Reflector[Pod]]
) -> None:
    old = api.create(DEFAULT_PODS, {"metadata": {"name": "a"}})
    api.merge(named(PODS, "default", "a"), {"metadata": {"annotations": {"v": "new"}}})
    reflector = reflect()
    assert reflector.wait_synced(5)
    api.wait_watchers()
    api.replay(PODS, "MODIFIED", old)
    api.create(DEFAULT_PODS, {"metadata": {"name": "after"}})
    heard.wait("ADDED", "after")
    found = reflector.get("default", "a")
    assert found is not None
    assert found.metadata.annotations == {"v": "new"}


def test_a_half_open_connection_is_given_up_after_the_read_timeout(
    api: FakeApi, heard: Heard, reflect: Callable[..., Reflector[Pod]]
) -> None:
    reflector = reflect(read_timeout_s=0.3)
    assert reflector.wait_synced(5)
    api.wait_watchers()
    api.freeze()
    api.create(DEFAULT_PODS, {"metadata": {"name": "unheard"}})
    watches = sum(1 for _, _, query in api.requests if query.get("watch"))
    until(lambda: sum(1 for _, _, query in api.requests if query.get("watch")) > watches)
    api.thaw()
    heard.wait("ADDED", "unheard")


def test_too_many_requests_is_answered_with_patience(api: FakeApi, reflect: Callable[..., Reflector[Pod]]) -> None:
    api.fail_next("GET", "/pods", 429, retry_after="0.2")
    started_at = time.monotonic()
    assert reflect().wait_synced(5)
    assert time.monotonic() - started_at >= 0.2


def test_a_server_error_is_retried(api: FakeApi, reflect: Callable[..., Reflector[Pod]]) -> None:
    api.fail_next("GET", "/pods", 503, times=3)
    assert reflect().wait_synced(5)


def test_a_server_that_was_not_there_is_found_soon_after_it_came_back_even_if_it_refuses_at_first() -> None:
    gone = FakeApi()
    gone.close()
    reflector = Reflector(gone.session(), ALL_PODS, Pod, backoff_first_s=0.05).start()
    try:
        time.sleep(2.0)  # a dozen attempts
        with FakeApi(gone.port) as back:
            back.fail_next("GET", "/pods", 503, times=2)
            assert reflector.wait_synced(4.0)  # at most 0.05 * (2**2 + 2**3 + 2**4), on a machine that has time
    finally:
        reflector.stop()


def test_an_unreadable_object_is_skipped_and_the_others_are_kept(
    api: FakeApi, reflect: Callable[..., Reflector[Pod]]
) -> None:
    api.create(DEFAULT_PODS, {"metadata": {"name": "odd", "labels": 7}})
    api.create(DEFAULT_PODS, {"metadata": {"name": "even"}})
    reflector = reflect()
    assert reflector.wait_synced(5)
    assert [each.metadata.name for each in reflector.snapshot()] == ["even"]


def test_a_failing_listener_does_not_end_the_watch(api: FakeApi, reflect: Callable[..., Reflector[Pod]]) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("listener")

    reflector = reflect(on_event=fail)
    assert reflector.wait_synced(5)
    api.create(DEFAULT_PODS, {"metadata": {"name": "a"}})
    until(lambda: reflector.get("default", "a") is not None)


def test_selectors_limit_what_is_held(api: FakeApi, reflect: Callable[..., Reflector[Pod]]) -> None:
    api.create(DEFAULT_PODS, {"metadata": {"name": "a", "labels": {"app": "x"}}, "spec": {"nodeName": "n1"}})
    api.create(DEFAULT_PODS, {"metadata": {"name": "b", "labels": {"app": "x"}}, "spec": {"nodeName": "n2"}})
    api.create(DEFAULT_PODS, {"metadata": {"name": "c"}, "spec": {"nodeName": "n1"}})
    reflector = reflect(label_selector="app=x", field_selector="spec.nodeName=n1")
    assert reflector.wait_synced(5)
    assert [each.metadata.name for each in reflector.snapshot()] == ["a"]


def test_age_is_infinite_before_the_first_list_and_grows_in_silence(
    api: FakeApi, reflect: Callable[..., Reflector[Pod]]
) -> None:
    assert Reflector(api.session(), ALL_PODS, Pod).age_s(1e9) == float("inf")
    reflector = reflect(clock=lambda: 1000.0)
    assert reflector.wait_synced(5)
    assert reflector.age_s(1007.5) == 7.5


def test_stop_ends_a_watch_that_is_blocked_in_a_read(api: FakeApi, reflect: Callable[..., Reflector[Pod]]) -> None:
    reflector = reflect()
    assert reflector.wait_synced(5)
    api.wait_watchers()
    started_at = time.monotonic()
    reflector.stop()
    assert time.monotonic() - started_at < 1.0
    assert not reflector._thread.is_alive()
