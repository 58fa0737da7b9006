"""The function's HTTP interface: /predict and /healthz."""

from __future__ import annotations

import os
from contextlib import nullcontext

from flask import Flask, jsonify, request
from flask.typing import ResponseReturnValue

from .driver import CudaError
from .server import Server
from .settings import Settings


def make_app(settings: Settings) -> Flask:
    """Made in the worker, after the fork: CUDA does not survive one."""
    app = Flask(__name__)
    server = Server(settings)
    tracing = None
    if settings.otlp_endpoint:
        from .telemetry import Tracing

        tracing = Tracing(settings.service_name)

    @app.route("/predict", methods=["GET", "POST"])
    @app.route("/", methods=["GET", "POST"])
    def predict() -> ResponseReturnValue:
        batch = request.args.get("batch")
        if batch is not None and (not batch.isdigit() or not 1 <= int(batch) <= 64):
            return jsonify(error=f"batch={batch!r}: 1 to 64 is wanted"), 400
        with tracing.request(dict(request.headers), settings.model) if tracing else nullcontext() as span:
            answer = server.predict(int(batch) if batch else None)
            if span:
                span.set_attribute("gpu.time_ms", answer.gpu_ms)
        return jsonify(
            model=settings.model,
            batch=answer.batch,
            gpu_ms=round(answer.gpu_ms, 3),
            total_ms=round(answer.total_ms, 3),
            sm_count=answer.sm_count,
            pid=os.getpid(),
        )

    @app.get("/healthz")
    def healthz() -> ResponseReturnValue:
        return jsonify(model=settings.model, pid=os.getpid())

    @app.errorhandler(CudaError)
    def failed(error: CudaError) -> ResponseReturnValue:
        return jsonify(error=str(error)), 500

    return app
