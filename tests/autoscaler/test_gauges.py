"""The gauges bear Knative's names and say what was decided and what is there."""

from __future__ import annotations

from hasgpu.autoscaler.gauges import decision_gauges, pod_gauges, process_gauges, watch_gauges
from hasgpu.autoscaler.pod_index import PodIndex
from hasgpu.cluster.knative import PodAutoscaler, PodAutoscalerStatus
from hasgpu.cluster.metadata import Metadata
from hasgpu.settings.store import ConfigStore
from hasgpu.telemetry.cloudevents import CloudEvents
from hasgpu.telemetry.instruments import INSTRUMENTS

from tests.autoscaler.test_kpa_class import KEY, METRIC, Played
from tests.autoscaler.test_scrape_loop import pod

LABELS = {"serving.knative.dev/service": "hello", "serving.knative.dev/configuration": "hello"}
OF = {
    "k8s.namespace.name": "ns",
    "kn.service.name": "hello",
    "kn.configuration.name": "hello",
    "kn.revision.name": "hello-00001",
}


def test_each_evaluation_is_shown() -> None:
    played = Played()
    played.wanted()
    played.kpa.collect(KEY, METRIC, "linear")
    played.load(140)
    played.pass_s(2)
    shown = {name: value for name, _, value in decision_gauges(played.kpa)}
    assert shown == {
        "kn.revision.pods.desired": 2,
        "kn.revision.capacity.excess": -251,
        "kn.revision.panic.mode": 1,
        "kn.revision.concurrency.stable": 140,
        "kn.revision.concurrency.panic": 140,
        "kn.revision.concurrency.target": 70,
    }
    assert shown.keys() <= INSTRUMENTS.keys()


def test_pods_are_shown_and_an_unknown_wish_is_not() -> None:
    index = PodIndex()
    index.on_event("ADDED", None, pod("a", "127.0.0.2"))
    metadata = Metadata(name=KEY.name, namespace=KEY.namespace, labels=LABELS)
    for desired, wanted in ((3, 3.0), (-1, None), (None, None)):
        pa = PodAutoscaler(metadata=metadata, status=PodAutoscalerStatus(desired_scale=desired))
        gauges = list(pod_gauges([pa], index, lambda key, scaling_class: True))
        assert {tuple(sorted(of.items())) for _, of, _ in gauges} == {tuple(sorted(OF.items()))}
        shown = {name: value for name, _, value in gauges}
        assert shown.get("kn.revision.pods.requested") == wanted
        assert (shown["kn.revision.pods.count"], shown["kn.revision.pods.pending.count"]) == (1, 0)
        assert shown.keys() <= INSTRUMENTS.keys()


def test_a_config_map_that_cannot_be_used_is_shown() -> None:
    settings = ConfigStore()
    settings.put("config-autoscaler", {"stable-window": "one minute"})
    shown = {of.get("hasgpu.config_map", name): value for name, of, value in process_gauges(settings, CloudEvents(""))}
    assert (shown["config-autoscaler"], shown["config-deployment"], shown["hasgpu.cloudevents.dropped"]) == (1, 0, 0)


def test_who_does_not_act_for_a_revision_shows_no_pods_of_it() -> None:
    pa = PodAutoscaler(metadata=Metadata(name=KEY.name, namespace=KEY.namespace, labels=LABELS))
    assert list(pod_gauges([pa], PodIndex(), lambda key, scaling_class: False)) == []


def test_a_kind_never_listed_has_no_age() -> None:
    shown = [(of["hasgpu.watch"], value) for _, of, value in watch_gauges({"pods": 3.0, "gpus": float("inf")})]
    assert shown == [("pods", 3.0)]
