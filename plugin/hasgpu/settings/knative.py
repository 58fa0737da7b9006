"""Settings: what we read of Knative's other ConfigMaps: deployment, network, leader election, telemetry, logs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from .texts import Texts

DEPLOYMENT = "config-deployment"
NETWORK = "config-network"
LEADER_ELECTION = "config-leader-election"
OBSERVABILITY = "config-observability"
LOGGING = "config-logging"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentSettings:
    """How long a Deployment may take, and whether an unschedulable pod fails its Revision fast."""

    progress_deadline_s: float = 600.0
    pod_is_always_schedulable: bool = False


def parse_deployment(data: Mapping[str, str]) -> DeploymentSettings:
    """The settings, or a SettingsError."""
    texts = Texts(DEPLOYMENT, data)
    deadline_s = texts.duration_s("progress-deadline", 600.0)
    texts.require(
        deadline_s > 0 and deadline_s == int(deadline_s), "progress-deadline", "must be positive, whole seconds"
    )
    return DeploymentSettings(
        progress_deadline_s=deadline_s, pod_is_always_schedulable=texts.boolean("pod-is-always-schedulable", False)
    )


MESH_HIDES_PODS = (
    "config-network: mesh-compatibility-mode = 'enabled': load is read from pods, never through a Service, so where "
    "the mesh hides pods it is known of revisions only whose activator stays in the path: target-burst-capacity: '-1'"
)
"""What upstream provides for such a mesh, and this autoscaler does not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSettings:
    """Whether pods may be reached by their addresses."""

    mesh_compatibility_mode: str = "auto"

    @property
    def hides_pods(self) -> bool:
        """MESH_HIDES_PODS applies."""
        return self.mesh_compatibility_mode == "enabled"


def parse_network(data: Mapping[str, str]) -> NetworkSettings:
    """The settings, or a SettingsError."""
    texts = Texts(NETWORK, data)
    mode = texts.text("mesh-compatibility-mode", "auto").lower()
    texts.require(
        mode in ("auto", "enabled", "disabled"), "mesh-compatibility-mode", "must be auto, enabled or disabled"
    )
    return NetworkSettings(mesh_compatibility_mode=mode)


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaderElectionSettings:
    """Periods of Knative's bucket leases."""

    lease_duration_s: float = 60.0
    renew_deadline_s: float = 40.0
    retry_period_s: float = 10.0
    buckets: int = 1


def parse_leader_election(data: Mapping[str, str]) -> LeaderElectionSettings:
    """The settings, or a SettingsError. Legacy camelCase keys count where the kebab-case one is absent."""
    legacy = {"lease-duration": "leaseDuration", "renew-deadline": "renewDeadline", "retry-period": "retryPeriod"}
    texts = Texts(LEADER_ELECTION, data)

    def period_s(key: str, default_s: float) -> float:
        key = key if key in data or legacy[key] not in data else legacy[key]
        value_s = texts.duration_s(key, default_s)
        texts.require(value_s > 0, key, "must be positive")
        return value_s

    settings = LeaderElectionSettings(
        lease_duration_s=period_s("lease-duration", 60.0),
        renew_deadline_s=period_s("renew-deadline", 40.0),
        retry_period_s=period_s("retry-period", 10.0),
        buckets=texts.int32("buckets", 1),
    )
    texts.require(1 <= settings.buckets <= 10, "buckets", "must be in [1, 10]")
    texts.require(
        settings.renew_deadline_s < settings.lease_duration_s, "renew-deadline", "must be below lease-duration"
    )
    texts.require(settings.retry_period_s < settings.renew_deadline_s, "retry-period", "must be below renew-deadline")
    return settings


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservabilitySettings:
    """Where traces and metrics go; read once at start, as Knative does."""

    metrics_protocol: str = "none"
    metrics_endpoint: str = ""
    metrics_export_interval_s: float = 0.0
    tracing_protocol: str = "none"
    tracing_endpoint: str = ""
    tracing_sampling_rate: float = 0.0
    request_metrics_protocol: str = "none"


def parse_observability(data: Mapping[str, str]) -> ObservabilitySettings:
    """The settings, or a SettingsError. An endpoint is required for OTLP and forbidden without a protocol."""
    texts = Texts(OBSERVABILITY, data)
    metrics = texts.choice("metrics-protocol", "none", "none", "prometheus", "http/protobuf", "grpc")
    tracing = texts.choice("tracing-protocol", "none", "none", "http/protobuf", "grpc", "stdout")
    settings = ObservabilitySettings(
        metrics_protocol=metrics,
        metrics_endpoint=texts.text("metrics-endpoint", ""),
        metrics_export_interval_s=texts.duration_s("metrics-export-interval", 0.0),
        tracing_protocol=tracing,
        tracing_endpoint=texts.text("tracing-endpoint", ""),
        tracing_sampling_rate=texts.number("tracing-sampling-rate", 0.0),
        request_metrics_protocol=texts.text("request-metrics-protocol", "none"),
    )
    for protocol, endpoint, key, endless in (
        (metrics, settings.metrics_endpoint, "metrics-endpoint", ("none",)),
        (tracing, settings.tracing_endpoint, "tracing-endpoint", ("none", "stdout")),
    ):
        texts.require(bool(endpoint) or protocol not in ("http/protobuf", "grpc"), key, f"must be set for {protocol}")
        texts.require(not endpoint or protocol not in endless, key, f"must not be set when the protocol is {protocol}")
    texts.require(settings.metrics_export_interval_s >= 0, "metrics-export-interval", "cannot be negative")
    texts.require(0 <= settings.tracing_sampling_rate <= 1, "tracing-sampling-rate", "must be in [0, 1]")
    return settings


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggingSettings:
    """From which severity on the autoscaler logs; as Python names it."""

    level: str = "INFO"


_SEVERITIES = {
    "debug": "DEBUG",
    "info": "INFO",
    "warn": "WARNING",
    "warning": "WARNING",
    "error": "ERROR",
    "dpanic": "CRITICAL",
    "panic": "CRITICAL",
    "fatal": "CRITICAL",
}
"""Of zap's levels."""


def parse_logging(data: Mapping[str, str]) -> LoggingSettings:
    """The settings, or a SettingsError: the component's own level, else the one of all components.

    Reference: knative.dev/pkg logging/config.go; of its `zap-logger-config` only `level` means something here.
    """
    texts = Texts(LOGGING, data)
    own, everyone = texts.text("loglevel.autoscaler", "").lower(), "zap-logger-config"
    if own:
        texts.require(own in _SEVERITIES, "loglevel.autoscaler", "must be debug, info, warn, error, panic or fatal")
        return LoggingSettings(level=_SEVERITIES[own])
    try:
        common = json.loads(texts.text(everyone, "") or "{}")
    except ValueError as error:
        raise texts.error(everyone, f"is not JSON: {error}") from error
    level = str(common.get("level", "info") if isinstance(common, dict) else "").lower()
    texts.require(level in _SEVERITIES, everyone, "must be an object whose level is debug, info, warn, error or so")
    return LoggingSettings(level=_SEVERITIES[level])
