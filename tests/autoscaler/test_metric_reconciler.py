"""A Metric object starts, changes and ends a collection, and its status says whether load arrives."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hasgpu.autoscaler.kpa_class import KpaClass
from hasgpu.autoscaler.metric_reconciler import MetricReconciler
from hasgpu.cluster.knative import Metric
from hasgpu.cluster.paths import METRICS, collection, named
from hasgpu.cluster.reflector import Reflector

from tests.autoscaler.stage import KEY, NAME, NOW, NS
from tests.cluster.fake_api import FakeApi

SPEC = {"stableWindow": 60_000_000_000, "panicWindow": 6_000_000_000, "scrapeTarget": "hello-00001-private"}


class Played:
    def __init__(self, api: FakeApi) -> None:
        self.api = api
        self.leading: bool | None = True
        self.error: str | None = None
        self.scrapes: list[bool] = []
        self.kpa = KpaClass(ready_pods=lambda key: 0, on_change=lambda key: None, clock=lambda: NOW)

    def create(self, **spec: Any) -> None:
        self.api.create(collection(METRICS, NS), {"metadata": {"name": NAME}, "spec": SPEC | spec})

    def reconcile(self) -> None:
        reflector = Reflector(self.api.session(), collection(METRICS), Metric).start()
        assert reflector.wait_synced(5)
        self.api.requests.clear()
        MetricReconciler(
            self.api.session(),
            reflector,
            self.kpa,
            leads=lambda key: self.leading,
            scrape_error=lambda key: self.error,
            scrape=lambda key, wanted: self.scrapes.append(wanted),
        ).reconcile(KEY, NOW)
        reflector.stop()

    @property
    def ready(self) -> tuple[str, str]:
        found = self.api.get(named(METRICS, NS, NAME))
        assert found is not None
        (condition,) = found["status"]["conditions"]
        return condition["status"], condition.get("reason", "")

    @property
    def writes(self) -> int:
        return sum(method != "GET" for method, _, _ in self.api.requests)


@pytest.fixture
def on() -> Iterator[Played]:
    with FakeApi() as api:
        yield Played(api)


def test_a_new_metric_is_collected_scraped_and_ready_at_one_write(on: Played) -> None:
    on.create()
    on.reconcile()
    found = on.kpa.collection(KEY)
    assert found is not None
    assert (found.stable_window_s, found.scrape_target) == (60, "hello-00001-private")
    assert (on.scrapes, on.ready, on.writes) == ([True], ("True", ""), 1)
    on.reconcile()
    assert on.writes == 0


def test_without_a_target_nothing_is_scraped(on: Played) -> None:
    on.create(scrapeTarget="")
    on.reconcile()
    assert on.scrapes == [False]
    assert on.ready == ("True", "")


def test_failing_scrapes_are_said_in_the_status_and_so_is_recovery(on: Played) -> None:
    on.create()
    on.error = "0 of 3 pods answered"
    on.reconcile()
    assert on.ready == ("False", "CollectionFailed")
    on.error = None
    on.reconcile()
    assert on.ready == ("True", "")


@pytest.mark.parametrize("leading", [True, False], ids=["the Metric is gone", "another replica leads"])
def test_what_is_not_ours_is_not_collected(on: Played, leading: bool) -> None:
    on.create()
    on.reconcile()
    on.leading = leading
    if leading:
        on.api.delete(named(METRICS, NS, NAME))
    on.reconcile()
    assert on.kpa.collection(KEY) is None
    assert on.scrapes[-1] is False
    assert on.writes == 0


def test_in_doubt_of_leadership_it_is_collected_as_before_and_nothing_written(on: Played) -> None:
    on.create()
    on.reconcile()
    on.leading, on.error = None, "0 of 3 pods answered"
    on.reconcile()
    assert on.kpa.collection(KEY) is not None
    assert on.scrapes == [True]
    assert on.writes == 0
