"""Adapter telemetry: spans by OpenTelemetry. Decides nothing; a dead collector never blocks or fails the caller.

One story is admit -> place -> decide -> actuate: each stage is a span that is a child of, or linked to, the stage
before, whose W3C context travels in annotations. So a span has a valid ``traceparent`` even where nothing is exported
(its sampled flag is off then).

Build it after a fork (gunicorn's post_fork): the exporter's thread does not survive one.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from urllib.parse import urlsplit

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SimpleSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased, TraceIdRatioBased
from opentelemetry.trace import Link, Span, SpanContext, Status, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

log = logging.getLogger(__name__)

Attribute = str | bool | int | float | Sequence[str] | Sequence[int] | Sequence[float]

_W3C = TraceContextTextMapPropagator()
_EXPORT_TIMEOUT_S = 5.0
# Spans of a decision should be seen soon after it; the demo reads them as a story.
_SCHEDULE_DELAY_MS = 1000.0


class OpenSpan:
    """A span that is being written."""

    def __init__(self, span: Span) -> None:
        self._span = span
        carrier: dict[str, str] = {}
        _W3C.inject(carrier, set_span_in_context(span, Context()))
        self.traceparent: str = carrier.get("traceparent", "")
        self.trace_id: str = format(span.get_span_context().trace_id, "032x")

    def set(self, key: str, value: Attribute) -> None:
        """An attribute known only now."""
        self._span.set_attribute(key, value)

    def add_event(self, name: str, attributes: Mapping[str, Attribute] | None = None) -> None:
        """Something that happened within."""
        self._span.add_event(name, attributes)

    def fail(self, message: str) -> None:
        """The stage did not do what it should."""
        self._span.set_status(Status(StatusCode.ERROR, message))


class Tracing:
    """Makes spans for one process."""

    def __init__(self, provider: TracerProvider, scope: str) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer(scope)

    @classmethod
    def start(
        cls,
        service: str,
        *,
        protocol: str = "none",
        endpoint: str = "",
        sampling_rate: float = 0.0,
        resource: Mapping[str, str] | None = None,
    ) -> Tracing:
        """As Knative's config-observability says; ``service`` is service.name. gRPC is told and not spoken."""
        described = Resource.create({"service.name": service, **(resource or {})})
        if protocol in ("none", "grpc"):
            if protocol == "grpc":
                log.error("tracing-protocol = 'grpc': not spoken here, use http/protobuf; no traces are exported")
            return cls(TracerProvider(sampler=ALWAYS_OFF, resource=described, shutdown_on_exit=False), service)
        sampler = ParentBased(TraceIdRatioBased(sampling_rate))
        provider = TracerProvider(sampler=sampler, resource=described, shutdown_on_exit=False)
        if protocol == "stdout":
            provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter()))
        else:
            exporter = OTLPSpanExporter(endpoint=signal_url(endpoint, "/v1/traces"), timeout=_EXPORT_TIMEOUT_S)
            provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=_SCHEDULE_DELAY_MS))
        return cls(provider, service)

    @classmethod
    def off(cls) -> Tracing:
        """Exports nothing."""
        return cls.start("hasgpu")

    @contextmanager
    def span(
        self,
        name: str,
        *,
        parent: str | None = None,
        links: Sequence[str] = (),
        attributes: Mapping[str, Attribute] | None = None,
    ) -> Iterator[OpenSpan]:
        """A span around the block. Without ``parent`` (a traceparent) it is a root; unreadable contexts are ignored.

        An exception that leaves the block marks the span failed and goes on.
        """
        linked = [Link(each) for each in map(_context, links) if each is not None]
        span = self._tracer.start_span(name, context=_parent(parent), links=linked, attributes=attributes)
        try:
            yield OpenSpan(span)
        except BaseException as error:
            span.record_exception(error)
            span.set_status(Status(StatusCode.ERROR, str(error)))
            raise
        finally:
            span.end()

    def flush(self, timeout_s: float = 2.0) -> None:
        """Sends what is buffered."""
        self._provider.force_flush(int(timeout_s * 1000))

    def stop(self) -> None:
        """Sends what is buffered and ends."""
        self._provider.shutdown()


def recorded(traceparent: str) -> bool:
    """Whether the span of a traceparent is sampled. Other flags may be set beside: W3C's level 2 marks random ids."""
    context = _context(traceparent)
    return context is not None and context.trace_flags.sampled


def signal_url(endpoint: str, default_path: str) -> str:
    """The endpoint as OTLP's Go exporter takes it: a URL without a path gets the signal's own."""
    return endpoint.rstrip("/") + default_path if urlsplit(endpoint).path in ("", "/") else endpoint


def _parent(traceparent: str | None) -> Context:
    """Always a fresh context: an ambient span of the thread is never a parent by accident."""
    return _W3C.extract({"traceparent": traceparent}, Context()) if traceparent else Context()


def _context(traceparent: str) -> SpanContext | None:
    from opentelemetry.trace import get_current_span

    context = get_current_span(_parent(traceparent)).get_span_context()
    return context if context.is_valid else None
