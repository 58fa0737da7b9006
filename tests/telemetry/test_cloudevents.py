"""CloudEvents at a real sink on loopback."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from cloudevents.core.v1.event import CloudEvent
from hasgpu.telemetry.cloudevents import QUEUE_SIZE, QUOTA_CHANGED, SCALED, CloudEvents

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Sink:
    """Keeps what it is sent; answers with the statuses it is given, then 202."""

    def __init__(self) -> None:
        self.events: list[CloudEvent] = []
        self.statuses: list[int] = []
        self.open = threading.Event()
        self.open.set()
        sink = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                sink.open.wait(5)
                status = sink.statuses.pop(0) if sink.statuses else 202
                if status < 300:
                    headers = {key.lower(): value for key, value in self.headers.items()}
                    sink.events.append(from_http_event(HTTPMessage(headers, body)))  # type: ignore[arg-type]
                self.send_response(status)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                """Quiet."""

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()


@pytest.fixture
def sink() -> Iterator[Sink]:
    sink = Sink()
    yield sink
    sink.open.set()
    sink.server.shutdown()
    sink.server.server_close()


def emit(events: CloudEvents, **data: object) -> None:
    events.emit(SCALED, namespace="d", revision="r-1", data=data, at=1.7e9, traceparent=TRACEPARENT)


def test_an_event_arrives_with_type_source_subject_and_trace(sink: Sink) -> None:
    events = CloudEvents.from_environment({"K_SINK": sink.url})
    events.emit(
        QUOTA_CHANGED, namespace="d", revision="r-1", data={"from": 30, "to": 60}, at=1.7e9, traceparent=TRACEPARENT
    )
    assert events.flush(5)
    (event,) = sink.events
    assert event.get_type() == "dev.hasgpu.revision.quota.changed.v1"
    assert event.get_source() == "/apis/serving.knative.dev/v1/namespaces/d/revisions/r-1"
    assert event.get_subject() == "r-1"
    assert event.get_extension("traceparent") == TRACEPARENT
    data = event.get_data()
    assert (json.loads(data) if isinstance(data, str | bytes) else data) == {"from": 30, "to": 60}
    assert events.sent == 1


def test_overrides_of_the_sink_binding_win(sink: Sink) -> None:
    overrides = json.dumps({"extensions": {"cluster": "bed"}})
    events = CloudEvents.from_environment({"K_SINK": sink.url, "K_CE_OVERRIDES": overrides})
    emit(events)
    assert events.flush(5)
    assert sink.events[0].get_extension("cluster") == "bed"


def test_overrides_that_can_not_be_read_are_ignored(sink: Sink) -> None:
    events = CloudEvents.from_environment({"K_SINK": sink.url, "K_CE_OVERRIDES": "[1"})
    emit(events)
    assert events.flush(5)
    assert len(sink.events) == 1


def test_without_a_sink_nothing_happens() -> None:
    events = CloudEvents.from_environment({})
    emit(events)
    assert events.flush(0.1)
    assert (events.sent, events.dropped, events.failed) == (0, 0, 0)


def test_a_sink_that_fails_for_a_moment_is_tried_again(sink: Sink) -> None:
    sink.statuses = [503]
    events = CloudEvents(sink.url)
    emit(events)
    assert events.flush(5)
    assert (events.sent, events.failed) == (1, 0)


def test_a_sink_that_refuses_is_not_asked_again(sink: Sink) -> None:
    sink.statuses = [400]
    events = CloudEvents(sink.url)
    emit(events)
    assert events.flush(5)
    assert (events.sent, events.failed) == (0, 1)


def test_behind_a_slow_sink_the_oldest_are_dropped_and_counted(sink: Sink) -> None:
    sink.open.clear()
    events = CloudEvents(sink.url)
    for index in range(QUEUE_SIZE + 10):
        emit(events, index=index)
    assert 9 <= events.dropped <= 10
    events.stop(0.01)


def test_an_extension_name_that_is_not_allowed_costs_the_event_and_not_the_caller(sink: Sink) -> None:
    events = CloudEvents(sink.url, extensions={"bad_name": "x"})
    emit(events)
    assert events.failed == 1
