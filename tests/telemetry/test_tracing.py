"""Spans that link into one story, at a real OTLP receiver on loopback; JSON log lines."""

from __future__ import annotations

import gzip
import io
import json
import logging
import os
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from hasgpu.telemetry.logs import JsonFormatter, configure, fields
from hasgpu.telemetry.tracing import Tracing, recorded
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

W3C = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-0[0-3]")


class Receiver:
    """An OTLP/HTTP receiver that keeps spans."""

    def __init__(self) -> None:
        self.spans: dict[str, Span] = {}
        self.services: set[str] = set()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                receiver.take(self.path, ExportTraceServiceRequest.FromString(body))
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                """Quiet."""

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def take(self, path: str, request: ExportTraceServiceRequest) -> None:
        assert path == "/v1/traces"
        for resource in request.resource_spans:
            self.services |= {a.value.string_value for a in resource.resource.attributes if a.key == "service.name"}
            for scope in resource.scope_spans:
                self.spans |= {span.name: span for span in scope.spans}


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.server.shutdown()
    receiver.server.server_close()


@pytest.fixture
def tracing(receiver: Receiver) -> Iterator[Tracing]:
    endpoint = f"http://127.0.0.1:{receiver.server.server_port}"
    tracing = Tracing.start("autoscaler", protocol="http/protobuf", endpoint=endpoint, sampling_rate=1.0)
    yield tracing
    tracing.stop()


def test_admit_place_decide_actuate_arrive_as_one_story(receiver: Receiver, tracing: Tracing) -> None:
    with tracing.span("admit") as admit:
        pass
    with tracing.span("place", parent=admit.traceparent, attributes={"k8s.pod.name": "p"}) as place:
        place.set("hasgpu.row", 1)
    with (
        tracing.span("decide", links=[admit.traceparent, place.traceparent]) as decide,
        tracing.span("VerticalPatch", parent=decide.traceparent),
    ):
        pass
    tracing.flush()
    spans = receiver.spans
    assert spans["place"].trace_id == spans["admit"].trace_id
    assert spans["place"].parent_span_id == spans["admit"].span_id
    assert [each.span_id for each in spans["decide"].links] == [spans["admit"].span_id, spans["place"].span_id]
    assert spans["decide"].parent_span_id == b""
    assert spans["VerticalPatch"].trace_id == spans["decide"].trace_id
    assert receiver.services == {"autoscaler"}
    assert W3C.fullmatch(place.traceparent)
    assert decide.trace_id == spans["decide"].trace_id.hex()


def test_a_stage_that_raises_is_told_as_failed_and_the_error_goes_on(receiver: Receiver, tracing: Tracing) -> None:
    with pytest.raises(RuntimeError), tracing.span("place"):
        raise RuntimeError("no room")
    tracing.flush()
    assert receiver.spans["place"].status.message == "no room"


def test_an_unreadable_traceparent_is_ignored(receiver: Receiver, tracing: Tracing) -> None:
    with tracing.span("decide", parent="rubbish", links=["", "00-zz"]):
        pass
    tracing.flush()
    assert receiver.spans["decide"].parent_span_id == b""
    assert not receiver.spans["decide"].links


def test_a_nested_span_without_parent_is_a_root(tracing: Tracing, receiver: Receiver) -> None:
    with tracing.span("outer"), tracing.span("inner"):
        pass
    tracing.flush()
    assert receiver.spans["inner"].parent_span_id == b""


def test_without_export_a_span_still_has_a_context_that_can_travel_marked_unsampled() -> None:
    with Tracing.off().span("decide") as span:
        assert W3C.fullmatch(span.traceparent)
        assert int(span.traceparent[-2:], 16) & 1 == 0


def test_a_dead_collector_costs_nothing_but_the_spans() -> None:
    tracing = Tracing.start("x", protocol="http/protobuf", endpoint="http://127.0.0.1:1/v1/traces", sampling_rate=1.0)
    with tracing.span("decide") as span:
        assert span.traceparent


def test_a_tracing_built_after_a_fork_exports_from_the_child(receiver: Receiver) -> None:
    endpoint = f"http://127.0.0.1:{receiver.server.server_port}/v1/traces"
    child = os.fork()
    if child == 0:
        tracing = Tracing.start("worker", protocol="http/protobuf", endpoint=endpoint, sampling_rate=1.0)
        with tracing.span("admit"):
            pass
        tracing.stop()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert receiver.services == {"worker"}


def test_a_decision_is_one_json_line() -> None:
    stream = io.StringIO()
    logger = logging.getLogger("hasgpu.test")
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter("autoscaler"))
    logger.addHandler(handler)
    try:
        logger.warning("decided %s", "up", extra=fields(namespace="d", revision="r", trace_id="t", reasons=["a", "b"]))
        try:
            raise ValueError("x\ny")
        except ValueError:
            logger.exception("failed")
    finally:
        logger.removeHandler(handler)
    first, second = (json.loads(line) for line in stream.getvalue().splitlines())
    assert (first["severity"], first["message"], first["service"]) == ("WARNING", "decided up", "autoscaler")
    assert (first["namespace"], first["revision"], first["trace_id"], first["reasons"]) == ("d", "r", "t", ["a", "b"])
    assert "ValueError: x" in second["error"]


def test_configuring_logs_replaces_the_root_handler() -> None:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    try:
        stream = io.StringIO()
        configure("webhook", stream=stream)
        logging.getLogger("anyone").info("hello")
        assert json.loads(stream.getvalue())["service"] == "webhook"
    finally:
        root.handlers[:] = before
        root.setLevel(level)


@pytest.mark.parametrize(
    ("flags", "is_recorded"),
    [
        pytest.param("01", True, id="sampled"),
        pytest.param("03", True, id="sampled, of a random id"),
        pytest.param("00", False, id="not sampled"),
        pytest.param("02", False, id="not sampled, of a random id"),
    ],
)
def test_a_context_is_recorded_where_it_is_sampled_whatever_else_it_says(flags: str, is_recorded: bool) -> None:
    assert recorded(f"00-{'a' * 32}-{'b' * 16}-{flags}") is is_recorded


@pytest.mark.parametrize("text", ["", "none", "00-0-0-01"])
def test_what_is_no_context_is_not_recorded(text: str) -> None:
    assert not recorded(text)
