"""The HTTP face: AdmissionReviews in, verdicts out. Asks nobody: it decides from the review and a snapshot.

A bad object is refused with HTTP 200; HTTP 500 means that the fault is ours. Admission has no side effects, so a dry
run is admitted like everything else.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

import msgspec
from flask import Flask, Response, request

from hasgpu.telemetry.tracing import Tracing

from .mutate_pod import mutate_pod
from .mutate_service import mutate_service
from .objects import Pod, Service
from .review import Request, Review, to_answer
from .surroundings import Injection, Surroundings
from .verdict import Verdict

log = logging.getLogger(__name__)

MAX_BODY_BYTES = 4 << 20  # a review holds the old and the new object; etcd takes 1.5 MiB for one
_JSON = "application/json"


class Known(Protocol):
    """Where snapshots come from."""

    def surroundings(self, namespace: str) -> Surroundings:
        """Of an object in ``namespace``."""

    def injection(self) -> Injection:
        """As config-hasgpu says now."""


def create_app(known: Known, tracing: Tracing, admitted: Callable[[str, bool, float], None]) -> Flask:
    """The WSGI application; ``admitted`` is told path, outcome and seconds of every review."""
    app = Flask("hasgpu_webhook", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES

    def judge_service(asked: Request) -> Verdict:
        old = msgspec.json.decode(asked.old_object, type=Service | None)
        return mutate_service(
            msgspec.json.decode(asked.object, type=Service),
            old if asked.operation == "UPDATE" else None,
            asked.namespace,
            known.surroundings(asked.namespace),
            known.injection(),
        )

    def judge_pod(asked: Request, traceparent: str | None) -> Verdict:
        return mutate_pod(msgspec.json.decode(asked.object, type=Pod), known.injection(), traceparent)

    @app.post("/services")
    def services() -> Response:
        return answer("services", lambda asked, _: judge_service(asked))

    @app.post("/pods")
    def pods() -> Response:
        return answer("pods", judge_pod)

    @app.get("/healthz")
    @app.get("/readyz")
    def healthy() -> Response:
        return Response("ok\n", mimetype="text/plain")

    def answer(path: str, judge: Callable[[Request, str | None], Verdict]) -> Response:
        try:
            review = msgspec.json.decode(request.get_data(), type=Review)
        except msgspec.MsgspecError as error:
            return Response(f"not an AdmissionReview: {error}\n", status=400, mimetype="text/plain")
        asked = review.request
        attributes = {"k8s.namespace.name": asked.namespace, "hasgpu.admission.path": path}
        with tracing.span("admit", parent=request.headers.get("traceparent"), attributes=attributes) as span:
            try:
                verdict = judge(asked, span.traceparent)
            except msgspec.ValidationError as error:
                verdict = Verdict(problems=(f"the object is malformed: {error}",))
        for problem in verdict.problems:
            log.info("refused %s %s/%s: %s", path, asked.namespace, asked.name, problem)
        return Response(to_answer(review, verdict), mimetype=_JSON)

    return app
