"""The webhook as a process: what it is put together from, and what it looks after while it serves."""

from __future__ import annotations

import logging
import threading
import time

from flask import Flask
from hasgpu.cluster.errors import ClusterError
from hasgpu.cluster.events import EventRecorder
from hasgpu.cluster.session import Session
from hasgpu.settings.knative import ObservabilitySettings
from hasgpu.settings.store import ConfigStore
from hasgpu.telemetry.metrics import Metrics
from hasgpu.telemetry.tracing import Tracing

from .app import Admission, create_app
from .certificates import Certificates
from .environment import Environment
from .observer import Observer

log = logging.getLogger(__name__)

SERVICE = "hasgpu-webhook"
RETRY_S = 2.0
LOOK_S = 5.0
CERTIFICATES_EVERY_S = 30.0
SETTINGS_WAIT_S = 5.0


def first_certificates(environment: Environment) -> None:
    """Before serving there must be something to serve with; waits for the API server as long as it takes."""
    while True:
        try:
            _certificates(Session.connect(user_agent=SERVICE), environment).ensure(time.time())
            return
        except ClusterError as error:
            log.warning("no certificate yet: %s", error)
            time.sleep(RETRY_S)


def make_app(environment: Environment) -> Flask:
    """The application with all it needs running; called in the worker, since threads don't survive a fork."""
    session = Session.connect(user_agent=SERVICE)
    settings = ConfigStore()
    events = EventRecorder(session, SERVICE).start()
    observer = Observer(session, environment.knative_namespace, settings, events, environment.sidecar_image).start()
    if not observer.wait_settings(SETTINGS_WAIT_S):
        log.warning("no ConfigMap read yet; the defaults hold")
    observability = settings.observability.value
    metrics = _metrics(observability)
    upkeep = (observer, _certificates(session, environment), metrics)
    threading.Thread(target=_look_after, args=upkeep, name="upkeep", daemon=True).start()
    return create_app(Admission(observer, _tracing(observability), metrics))


def _look_after(observer: Observer, certificates: Certificates, metrics: Metrics) -> None:
    renewed_at = time.monotonic()
    while True:
        time.sleep(LOOK_S)
        try:
            foreign = observer.look_after(time.time()) is not None
            metrics.set("hasgpu.autoscaler.foreign", float(foreign))
            if time.monotonic() - renewed_at >= CERTIFICATES_EVERY_S:
                certificates.ensure(time.time())
                renewed_at = time.monotonic()
        except ClusterError as error:
            log.warning("certificates: %s", error)
        except Exception:
            log.exception("upkeep failed; it goes on")


def _certificates(session: Session, environment: Environment) -> Certificates:
    return Certificates(
        session,
        namespace=environment.namespace,
        knative_namespace=environment.knative_namespace,
        server_file=environment.server_file,
    )


def _tracing(settings: ObservabilitySettings) -> Tracing:
    return Tracing.start(
        SERVICE,
        protocol=settings.tracing_protocol,
        endpoint=settings.tracing_endpoint,
        sampling_rate=settings.tracing_sampling_rate,
    )


def _metrics(settings: ObservabilitySettings) -> Metrics:
    return Metrics.start(
        SERVICE,
        protocol=settings.metrics_protocol,
        endpoint=settings.metrics_endpoint,
        export_interval_s=settings.metrics_export_interval_s,
    )
