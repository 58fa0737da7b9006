"""OpenTelemetry for the function: a server span per request that continues the caller's trace.

Imported only where an OTLP endpoint is set: the SDK costs start-up time that a cold start would pay.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from opentelemetry import propagate, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor


class Tracing:
    """Made after the fork: the exporter's thread would not survive it."""

    def __init__(self, service_name: str) -> None:
        provider = TracerProvider(resource=Resource.create({"service.name": service_name}))
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._provider = provider
        self._tracer = provider.get_tracer("inference")

    @contextmanager
    def request(self, headers: Mapping[str, str], model: str) -> Iterator[trace.Span]:
        """The span of one /predict."""
        parent = propagate.extract({name.lower(): value for name, value in headers.items()})
        attributes = {"http.request.method": "POST", "url.path": "/predict", "gen_ai.request.model": model}
        with self._tracer.start_as_current_span("/predict", parent, trace.SpanKind.SERVER, attributes) as span:
            yield span

    def close(self) -> None:
        """Sends what is left."""
        self._provider.shutdown()
