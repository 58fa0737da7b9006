"""Metrics: what a scrape shows, and that the documented table is the one in the code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import urllib3
from hasgpu.nodeagent.exposition import FAMILIES
from hasgpu.telemetry.instruments import INSTRUMENTS, Instrument, prometheus_name
from hasgpu.telemetry.metrics import Metrics

DOCUMENT = (Path(__file__).parents[2] / "docs/metrics.md").read_text()
REVISION = {"k8s.namespace.name": "default", "kn.revision.name": "hello-00001"}


@pytest.fixture
def metrics() -> Iterator[Metrics]:
    metrics = Metrics.start("autoscaler", protocol="prometheus", endpoint="127.0.0.1:0")
    yield metrics
    metrics.stop()


def row(instrument: Instrument) -> str:
    attributes = ", ".join(f"`{each}`" for each in instrument.attributes) or "–"
    return (
        f"| `{prometheus_name(instrument)}` | `{instrument.name}` | {instrument.kind} | {instrument.unit or '–'} "
        f"| {attributes} | {instrument.description} |"
    )


@pytest.mark.parametrize("instrument", INSTRUMENTS.values(), ids=INSTRUMENTS)
def test_every_metric_is_documented_as_it_is(instrument: Instrument) -> None:
    assert row(instrument) in DOCUMENT


def test_every_metric_of_the_agent_is_documented_as_it_is() -> None:
    for name, (kind, said) in FAMILIES.items():
        assert f"| `{name}` | {kind} | {said} |" in DOCUMENT


def test_nothing_is_documented_that_is_not_there() -> None:
    # The sidecar's are C: tests/shim/test_sidecar.py holds them.
    documented = set(re.findall(r"^\| `(?!hasgpu_pod_)([a-z_]+)` \|", DOCUMENT, re.MULTILINE))
    assert documented == {prometheus_name(each) for each in INSTRUMENTS.values()} | set(FAMILIES)


def test_a_scrape_shows_every_kind_under_its_documented_name(metrics: Metrics) -> None:
    for instrument in INSTRUMENTS.values():
        if instrument.kind == "gauge":
            metrics.set(instrument.name, 3, REVISION)
        elif instrument.kind == "counter":
            metrics.add(instrument.name, 3, REVISION)
        else:
            metrics.record(instrument.name, 0.2, REVISION)
    page = metrics.render().decode()
    for instrument in INSTRUMENTS.values():
        suffix = "_count" if instrument.kind == "histogram" else ""
        line = f'{prometheus_name(instrument)}{suffix}{{k8s_namespace_name="default",kn_revision_name="hello-00001"}}'
        assert line in page, instrument.name


def test_the_page_is_served_where_knative_serves_its_own(metrics: Metrics) -> None:
    metrics.set("kn.revision.pods.desired", 2, REVISION)
    answer = urllib3.request("GET", f"http://127.0.0.1:{metrics.port}/metrics")
    assert b"kn_revision_pods_desired{" in answer.data


def test_a_revision_that_is_gone_leaves_no_series_behind(metrics: Metrics) -> None:
    metrics.set("kn.revision.pods.desired", 2, REVISION)
    metrics.set("kn.revision.pods.desired", 1, {**REVISION, "kn.revision.name": "other"})
    metrics.forget(REVISION)
    page = metrics.render().decode()
    assert "hello-00001" not in page
    assert 'kn_revision_name="other"' in page


def test_each_of_thousands_of_revisions_has_series_of_its_own(metrics: Metrics) -> None:
    of = [{**REVISION, "kn.revision.name": f"hello-{number:05}"} for number in range(2500)]
    metrics.observe(lambda: [("kn.revision.pods.count", each, 1.0) for each in of])
    for each in of:
        metrics.add("hasgpu.decisions", 1, each)
    page = metrics.render().decode()
    assert page.count("kn_revision_pods_count{") == len(of)
    assert page.count("hasgpu_decisions_total{") == len(of)


def test_a_source_is_asked_at_every_scrape(metrics: Metrics) -> None:
    pods = iter((1.0, 2.0))
    metrics.observe(lambda: [("kn.revision.pods.count", REVISION, next(pods, 9.0))])
    assert "kn_revision_pods_count{" in metrics.render().decode()


def test_a_port_in_use_costs_the_page_and_not_the_process(metrics: Metrics) -> None:
    second = Metrics.start("autoscaler", protocol="prometheus", endpoint=f"127.0.0.1:{metrics.port}")
    assert second.port == 0
    second.stop()


def test_without_a_protocol_nothing_is_served() -> None:
    metrics = Metrics.start("autoscaler")
    metrics.set("kn.revision.pods.desired", 2, REVISION)
    assert (metrics.port, metrics.render()) == (0, b"")
    metrics.stop()


def test_a_source_is_asked_once_for_each_export_however_many_gauges_it_tells(metrics: Metrics) -> None:
    asked = []

    def source() -> list[tuple[str, dict[str, str], float]]:
        asked.append(True)
        return [("kn.revision.pods.count", REVISION, len(asked)), ("kn.revision.pods.desired", REVISION, 3)]

    metrics.observe(source)
    pages = [metrics.render().decode() for _ in range(2)]
    assert len(asked) == 2
    assert [f" {count}.0" in page for page, count in zip(pages, (1, 2), strict=True)] == [True, True]
    assert all("kn_revision_pods_desired{" in page for page in pages)
