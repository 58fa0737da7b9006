"""The HTTP face: AdmissionReviews in, verdicts out. Asks nobody: it decides from the review and a snapshot.

A bad object is refused with HTTP 200; HTTP 500 means that the fault is ours. Admission has no side effects, so a dry
run is admitted like everything else.
"""

from __future__ import annotations

import logging
import re
import time
from typing import Literal, Protocol

import msgspec
from flask import Flask, Response, request
from hasgpu.telemetry.metrics import Metrics
from hasgpu.telemetry.tracing import Tracing

from .mutate_pod import mutate_pod
from .mutate_service import mutate_service
from .objects import Pod, Service
from .review import Request, Review, to_answer
from .surroundings import Injection, Surroundings
from .verdict import Verdict

log = logging.getLogger(__name__)

MAX_BODY_BYTES = 4 << 20  # a review holds the old and the new object; etcd takes 1.5 MiB for one
_FLAGS = re.compile(r"-([0-9a-f]{2})\Z")
Path = Literal["services", "pods"]


class Known(Protocol):
    """Where snapshots come from."""

    def surroundings(self, namespace: str) -> Surroundings:
        """Of an object in ``namespace``."""

    def injection(self) -> Injection:
        """As config-hasgpu says now."""


class Admission:
    """Answers reviews; safe to share between threads."""

    def __init__(self, known: Known, tracing: Tracing, metrics: Metrics) -> None:
        self._known, self._tracing, self._metrics = known, tracing, metrics

    def answer(self, path: Path, body: bytes, caller: str | None) -> bytes:
        """The answer to one review, ValidationError where it is none; ``caller`` is the API server's traceparent."""
        began_s = time.perf_counter()
        review = msgspec.json.decode(body, type=Review)
        asked = review.request
        attributes = {"k8s.namespace.name": asked.namespace, "hasgpu.admission.path": path}
        with self._tracing.span("admit", parent=_sampled(caller), attributes=attributes) as span:
            try:
                verdict = self._judge_pod(asked, span.traceparent) if path == "pods" else self._judge_service(asked)
            except msgspec.ValidationError as error:
                verdict = Verdict(problems=(f"the object is malformed: {error}",))
            span.set("hasgpu.admission.allowed", verdict.allowed)
        for problem in verdict.problems:
            log.info("refused %s %s/%s: %s", path, asked.namespace, asked.name, problem)
        outcome = {"hasgpu.admission.path": path, "hasgpu.admission.allowed": str(verdict.allowed).lower()}
        self._metrics.record("hasgpu.admission.duration", time.perf_counter() - began_s, outcome)
        return to_answer(review, verdict)

    def _judge_service(self, asked: Request) -> Verdict:
        old = msgspec.json.decode(asked.old_object, type=Service) if asked.operation == "UPDATE" else None
        return mutate_service(
            msgspec.json.decode(asked.object, type=Service),
            old,
            asked.namespace,
            self._known.surroundings(asked.namespace),
            self._known.injection(),
        )

    def _judge_pod(self, asked: Request, traceparent: str) -> Verdict:
        return mutate_pod(msgspec.json.decode(asked.object, type=Pod), self._known.injection(), traceparent or None)


def create_app(admission: Admission) -> Flask:
    """The WSGI application."""
    app = Flask("hasgpu_webhook", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES

    @app.post("/services")
    def services() -> Response:
        return _respond(admission, "services")

    @app.post("/pods")
    def pods() -> Response:
        return _respond(admission, "pods")

    @app.get("/healthz")
    @app.get("/readyz")
    def healthy() -> Response:
        return Response("ok\n", mimetype="text/plain")

    return app


def _respond(admission: Admission, path: Path) -> Response:
    try:
        answer = admission.answer(path, request.get_data(), request.headers.get("traceparent"))
    except msgspec.MsgspecError as error:
        return Response(f"not an AdmissionReview: {error}\n", status=400, mimetype="text/plain")
    return Response(answer, mimetype="application/json")


def _sampled(traceparent: str | None) -> str | None:
    """The API server's context, where it records one; an unrecorded parent would silence the span."""
    flags = _FLAGS.search(traceparent or "")
    return traceparent if flags is not None and int(flags[1], 16) & 1 else None
