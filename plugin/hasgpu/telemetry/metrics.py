"""Adapter telemetry: metrics by OpenTelemetry, as Knative's config-observability says. Knows names only by the table.

Gauges are held here and observed when asked for, so that the series of a revision that is gone can be forgotten.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from wsgiref.simple_server import WSGIServer

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.metrics import CallbackOptions, Counter, Histogram, Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.metrics.view import View
from opentelemetry.sdk.resources import Resource
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client import start_http_server as serve_http

from .instruments import INSTRUMENTS, SECONDS, Instrument
from .tracing import signal_url

log = logging.getLogger(__name__)

PORT = 9090
DEFAULT_EXPORT_INTERVAL_S = 60.0
MOST_SERIES = 1_000_000
"""Of one instrument. The SDK's 2,000 would show one nameless series for all revisions beyond them."""

_Series = tuple[tuple[str, str], ...]


class Metrics:
    """The instruments of one process; safe to share between threads."""

    def __init__(
        self, service: str, readers: Sequence[MetricReader] = (), registry: CollectorRegistry | None = None
    ) -> None:
        self._registry = registry or CollectorRegistry()
        self.read = bool(readers)
        """Whether anybody is shown what is recorded."""
        self._provider = MeterProvider(
            metric_readers=readers,
            resource=Resource.create({"service.name": service}),
            shutdown_on_exit=False,
            views=[View(instrument_name="*", aggregation_cardinality_limit=MOST_SERIES)],
        )
        self._gauges: dict[str, dict[_Series, float]] = {}
        self._lock = threading.Lock()
        self._sources: list[Callable[[], Iterable[tuple[str, Mapping[str, str], float]]]] = []
        self._asking = threading.Lock()
        self._parts: dict[str, dict[_Series, float]] = {}
        self._server: WSGIServer | None = None
        self._counters: dict[str, Counter] = {}
        self._histograms: dict[str, Histogram] = {}
        for instrument in INSTRUMENTS.values():
            self._make(instrument)

    @classmethod
    def start(
        cls, service: str, *, protocol: str = "none", endpoint: str = "", export_interval_s: float = 0.0
    ) -> Metrics:
        """none: kept, shown to nobody. prometheus: on ``endpoint`` (host:port, default :9090). OTLP: pushed."""
        registry = CollectorRegistry()
        readers: list[MetricReader] = []
        if protocol == "prometheus":
            for collector in (ProcessCollector, PlatformCollector, GCCollector):
                collector(registry=registry)
            readers.append(PrometheusMetricReader(scope_info_enabled=False, registry=registry))
        elif protocol == "http/protobuf":
            exporter = OTLPMetricExporter(endpoint=signal_url(endpoint, "/v1/metrics"), timeout=5.0)
            interval_s = export_interval_s or DEFAULT_EXPORT_INTERVAL_S
            readers.append(PeriodicExportingMetricReader(exporter, export_interval_millis=interval_s * 1000))
        elif protocol == "grpc":
            log.error(
                "metrics-protocol = 'grpc': not spoken here, use http/protobuf or prometheus; nothing is exported"
            )
        metrics = cls(service, readers, registry)
        if protocol == "prometheus":
            metrics._serve(endpoint)
        return metrics

    def set(self, name: str, value: float, attributes: Mapping[str, str] | None = None) -> None:
        """A gauge's value now."""
        with self._lock:
            self._gauges[name][_series(attributes)] = value

    def forget(self, attributes: Mapping[str, str]) -> None:
        """Ends all gauge series that have these attributes, all of them for none: their revision is gone."""
        gone = set(attributes.items())
        with self._lock:
            for series in self._gauges.values():
                for key in [key for key in series if gone <= set(key)]:
                    del series[key]

    def observe(self, source: Callable[[], Iterable[tuple[str, Mapping[str, str], float]]]) -> None:
        """Adds a source of gauges (name, attributes, value) that is asked at every export."""
        self._sources.append(source)

    def add(self, name: str, amount: float = 1, attributes: Mapping[str, str] | None = None) -> None:
        """Counts."""
        self._counters[name].add(amount, dict(attributes or {}))

    def record(self, name: str, value: float, attributes: Mapping[str, str] | None = None) -> None:
        """A value of a histogram. Where nobody reads them it is not worth the library's work: it comes per scrape."""
        if self.read:
            self._histograms[name].record(value, dict(attributes or {}))

    def render(self) -> bytes:
        """The Prometheus page; empty unless the protocol is prometheus."""
        return generate_latest(self._registry)

    @property
    def port(self) -> int:
        """Where the page is served; 0 where it is not."""
        return 0 if self._server is None else int(self._server.server_port)

    def stop(self) -> None:
        """Pushes what is left and ends."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
        self._provider.shutdown()

    def _make(self, instrument: Instrument) -> None:
        meter = self._provider.get_meter("hasgpu")
        name, unit, description = instrument.name, instrument.unit, instrument.description
        if instrument.kind == "counter":
            self._counters[name] = meter.create_counter(name, unit, description)
        elif instrument.kind == "histogram":
            self._histograms[name] = meter.create_histogram(
                name, unit, description, explicit_bucket_boundaries_advisory=SECONDS
            )
        else:
            self._gauges[name] = {}
            meter.create_observable_gauge(name, [partial(self._observations, name)], unit, description)

    def _observations(self, name: str, _: CallbackOptions) -> Iterable[Observation]:
        with self._lock:
            held = dict(self._gauges[name])
        held.update(self._asked(name))
        return [Observation(value, dict(series)) for series, value in held.items()]

    def _asked(self, name: str) -> Mapping[_Series, float]:
        """What the sources say of one gauge. All are asked once for an export: each gauge then takes its part away."""
        with self._asking:
            if name not in self._parts:
                self._parts = {each: {} for each in self._gauges}
                for source in self._sources:
                    for each, attributes, value in source():
                        self._parts[each][_series(attributes)] = value
            return self._parts.pop(name)

    def _serve(self, endpoint: str) -> None:
        host, _, port = endpoint.rpartition(":")
        try:
            self._server, _ = serve_http(int(port or PORT), addr=host or "0.0.0.0", registry=self._registry)
        except (OSError, ValueError) as error:
            # A process that can't be watched must still do its work.
            log.error("metrics-endpoint = %r: %s; metrics are not served", endpoint, error)


def _series(attributes: Mapping[str, str] | None) -> _Series:
    return tuple(sorted((attributes or {}).items()))
