"""One Flask application that keeps the last spans and CloudEvents in memory and shows them as JSON.

POST /v1/traces takes OTLP/HTTP protobuf; POST / takes a CloudEvent (binary or structured); GET /spans and
GET /events answer with what arrived. It is a witness for tests and the demo, not a store.
"""

from __future__ import annotations

import gzip
from collections import deque
from typing import Any

from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from cloudevents.core.exceptions import CloudEventValidationError
from flask import Flask, Response, jsonify, request
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

KEPT = 20_000


def create_app() -> Flask:
    """The application; state lives in it, so run one worker."""
    app = Flask(__name__)
    spans: deque[dict[str, Any]] = deque(maxlen=KEPT)
    # Every request leaves spans of activator and queue-proxy; ours must not be pushed out by them.
    foreign_spans: deque[dict[str, Any]] = deque(maxlen=KEPT)
    events: deque[dict[str, Any]] = deque(maxlen=KEPT)

    @app.post("/v1/traces")
    def take_spans() -> Response:
        body = request.get_data()
        if request.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        for span in _spans(ExportTraceServiceRequest.FromString(body)):
            (spans if span["service"].startswith("hasgpu") else foreign_spans).append(span)
        return Response(ExportTraceServiceResponse().SerializeToString(), content_type="application/x-protobuf")

    @app.post("/")
    def take_event() -> tuple[str, int]:
        try:
            event = from_http_event(HTTPMessage(dict(request.headers), request.get_data()))
        except (CloudEventValidationError, ValueError) as problem:
            return f"not a CloudEvent: {problem}", 400
        attributes = {name: str(value) for name, value in event.get_attributes().items()}
        events.append({"attributes": attributes, "data": event.get_data()})
        return "", 202

    @app.get("/spans")
    def show_spans() -> Response:
        """Spans of hasgpu; with ?foreign=1 those of everybody else."""
        return jsonify(list(foreign_spans if request.args.get("foreign") else spans))

    @app.get("/events")
    def show_events() -> Response:
        return jsonify(list(events))

    @app.get("/healthz")
    def healthz() -> str:
        return "ok"

    return app


def _spans(message: ExportTraceServiceRequest) -> list[dict[str, Any]]:
    found = []
    for resource in message.resource_spans:
        service = {item.key: item.value.string_value for item in resource.resource.attributes}
        for scope in resource.scope_spans:
            for span in scope.spans:
                found.append(
                    {
                        "service": service.get("service.name", ""),
                        "name": span.name,
                        "trace_id": span.trace_id.hex(),
                        "span_id": span.span_id.hex(),
                        "parent_id": span.parent_span_id.hex(),
                        "start_ns": span.start_time_unix_nano,
                        "end_ns": span.end_time_unix_nano,
                        "links": [
                            {"trace_id": link.trace_id.hex(), "span_id": link.span_id.hex()} for link in span.links
                        ],
                        "attributes": {item.key: _value(item.value) for item in span.attributes},
                    }
                )
    return found


def _value(value: Any) -> str | int | float | bool | list[Any]:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(item) for item in value.array_value.values]
    return getattr(value, kind) if kind else ""
