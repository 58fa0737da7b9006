"""Adapter telemetry: CloudEvents to K_SINK. Fire and forget: a bounded queue, the oldest dropped and counted.

SinkBinding injects K_SINK, K_CE_OVERRIDES (``{"extensions": {...}}``) and K_CA_CERTS. Without K_SINK nothing is sent.
"""

from __future__ import annotations

import json
import logging
import threading
from collections import deque
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal

import urllib3
from cloudevents.core.bindings.http import to_binary_event
from cloudevents.core.exceptions import CloudEventValidationError
from cloudevents.core.v1.event import CloudEvent

log = logging.getLogger(__name__)

EventType = Literal[
    "dev.hasgpu.revision.scaled.v1",
    "dev.hasgpu.revision.quota.changed.v1",
    "dev.hasgpu.revision.placement.failed.v1",
]
SCALED: EventType = "dev.hasgpu.revision.scaled.v1"
QUOTA_CHANGED: EventType = "dev.hasgpu.revision.quota.changed.v1"
PLACEMENT_FAILED: EventType = "dev.hasgpu.revision.placement.failed.v1"

QUEUE_SIZE = 256
ATTEMPTS = 3
TIMEOUT_S = 5.0
RETRY_AFTER_S = 0.5


def revision_source(namespace: str, name: str) -> str:
    """The API path of a revision: who the event is about."""
    return f"/apis/serving.knative.dev/v1/namespaces/{namespace}/revisions/{name}"


class CloudEvents:
    """Sends from a thread of its own."""

    def __init__(self, sink: str, *, extensions: Mapping[str, str] | None = None, ca_certs: str = "") -> None:
        self._sink, self._extensions = sink, dict(extensions or {})
        tls: dict[str, Any] = {"ca_cert_data": ca_certs} if ca_certs else {}
        self._pool = urllib3.PoolManager(maxsize=1, **tls)
        self._queue: deque[CloudEvent] = deque(maxlen=QUEUE_SIZE)
        self._wake = threading.Condition()
        self._stopping = threading.Event()
        self._busy = False
        self.sent = self.dropped = self.failed = 0
        if sink:
            threading.Thread(target=self._run, name="cloudevents", daemon=True).start()
        else:
            log.info("no K_SINK: CloudEvents are not sent")

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> CloudEvents:
        """As a SinkBinding injects it; unreadable overrides are told and ignored."""
        extensions: dict[str, str] = {}
        text = environment.get("K_CE_OVERRIDES", "")
        try:
            extensions = {str(key): str(value) for key, value in json.loads(text or "{}").get("extensions", {}).items()}
        except (ValueError, AttributeError) as error:
            log.error("K_CE_OVERRIDES = %r: %s; no overrides", text, error)
        return cls(environment.get("K_SINK", ""), extensions=extensions, ca_certs=environment.get("K_CA_CERTS", ""))

    def emit(
        self,
        type: EventType,
        *,
        namespace: str,
        revision: str,
        data: Mapping[str, Any],
        at: float,
        traceparent: str = "",
    ) -> None:
        """Queues one about a revision, ``at`` in seconds since the epoch; never blocks, never raises."""
        if not self._sink:
            return
        attributes: dict[str, Any] = {
            "type": type,
            "source": revision_source(namespace, revision),
            "subject": revision,
            "time": datetime.fromtimestamp(at, UTC),
            "datacontenttype": "application/json",
            **({"traceparent": traceparent} if traceparent else {}),
            **self._extensions,
        }
        try:
            event = CloudEvent(attributes=attributes, data=dict(data))
        except CloudEventValidationError as error:
            self.failed += 1
            log.error("CloudEvent %s of %s/%s is not valid: %s", type, namespace, revision, error)
            return
        with self._wake:
            if len(self._queue) == QUEUE_SIZE:
                self.dropped += 1
            self._queue.append(event)
            self._wake.notify_all()

    def flush(self, timeout_s: float) -> bool:
        """Waits until all is sent or given up."""
        with self._wake:
            return self._wake.wait_for(lambda: not self._queue and not self._busy, timeout_s)

    def stop(self, timeout_s: float = 2.0) -> None:
        """Sends what is queued, within the time given."""
        self.flush(timeout_s)
        self._stopping.set()
        with self._wake:
            self._wake.notify_all()

    def _run(self) -> None:
        while True:
            with self._wake:
                self._busy = False
                self._wake.notify_all()
                self._wake.wait_for(lambda: self._queue or self._stopping.is_set())
                if not self._queue:
                    return
                event, self._busy = self._queue.popleft(), True
            self._deliver(event)

    def _deliver(self, event: CloudEvent) -> None:
        message = to_binary_event(event)
        problem = ""
        for attempt in range(ATTEMPTS):
            try:
                response = self._pool.request(
                    "POST", self._sink, body=message.body, headers=message.headers, timeout=TIMEOUT_S, retries=False
                )
            except (urllib3.exceptions.HTTPError, OSError) as error:
                problem = str(error)
            else:
                if response.status < 300:
                    self.sent += 1
                    return
                problem = f"HTTP {response.status}"
                if response.status < 500 and response.status not in (408, 429):
                    break
            if self._stopping.wait(RETRY_AFTER_S * 2**attempt):
                break
        self.failed += 1
        log.warning("CloudEvent %s to %s: %s", event.get_type(), self._sink, problem)
