"""Adapter cluster: Knative's kinds as we read them. Unknown fields are ignored, so never write these back whole."""

from __future__ import annotations

from typing import Any

import msgspec

from .metadata import Condition, Metadata


class ObjectReference(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Another object."""

    api_version: str = ""
    kind: str = ""
    name: str = ""


class PodAutoscalerSpec(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What Knative's revision controller asks of an autoscaler."""

    container_concurrency: int = 0
    scale_target_ref: ObjectReference = ObjectReference()
    reachability: str = ""
    protocol_type: str = "http1"


class PodAutoscalerStatus(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What an autoscaler answers; service_name and metrics_service_name must be in every write."""

    service_name: str = ""
    metrics_service_name: str = ""
    desired_scale: int | None = None
    actual_scale: int | None = None
    observed_generation: int = 0
    conditions: tuple[Condition, ...] = ()
    annotations: dict[str, str] = {}


class PodAutoscaler(msgspec.Struct, frozen=True, kw_only=True):
    """autoscaling.internal.knative.dev/v1alpha1 PodAutoscaler."""

    metadata: Metadata
    spec: PodAutoscalerSpec = PodAutoscalerSpec()
    status: PodAutoscalerStatus = PodAutoscalerStatus()


class ServerlessServiceSpec(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Whether the activator is in the path, and how many of them."""

    mode: str = ""
    num_activators: int = 0
    object_ref: ObjectReference = ObjectReference()
    protocol_type: str = ""


class ServerlessServiceStatus(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The Services made for it."""

    service_name: str = ""
    private_service_name: str = ""
    observed_generation: int = 0
    conditions: tuple[Condition, ...] = ()


class ServerlessService(msgspec.Struct, frozen=True, kw_only=True):
    """networking.internal.knative.dev/v1alpha1 ServerlessService."""

    metadata: Metadata
    spec: ServerlessServiceSpec = ServerlessServiceSpec()
    status: ServerlessServiceStatus = ServerlessServiceStatus()


class MetricSpec(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What to scrape and over which windows; Go durations are integers of nanoseconds on the wire."""

    stable_window_ns: int = msgspec.field(default=0, name="stableWindow")
    panic_window_ns: int = msgspec.field(default=0, name="panicWindow")
    scrape_target: str = ""


class MetricStatus(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Whether the metric is collected."""

    observed_generation: int = 0
    conditions: tuple[Condition, ...] = ()


class Metric(msgspec.Struct, frozen=True, kw_only=True):
    """autoscaling.internal.knative.dev/v1alpha1 Metric."""

    metadata: Metadata
    spec: MetricSpec = MetricSpec()
    status: MetricStatus = MetricStatus()


class RevisionSpec(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What a revision runs; containers are kept raw."""

    container_concurrency: int | None = None
    containers: tuple[dict[str, Any], ...] = ()


class RevisionStatus(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What became of a revision."""

    conditions: tuple[Condition, ...] = ()


class Revision(msgspec.Struct, frozen=True, kw_only=True):
    """serving.knative.dev/v1 Revision."""

    metadata: Metadata
    spec: RevisionSpec = RevisionSpec()
    status: RevisionStatus = RevisionStatus()


class TemplateSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A revision template."""

    metadata: Metadata = Metadata()
    spec: RevisionSpec = RevisionSpec()


class KnativeServiceSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What a service asks for."""

    template: TemplateSpec = TemplateSpec()


class KnativeServiceStatus(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What became of a service."""

    url: str = ""
    conditions: tuple[Condition, ...] = ()


class KnativeService(msgspec.Struct, frozen=True, kw_only=True):
    """serving.knative.dev/v1 Service."""

    metadata: Metadata
    spec: KnativeServiceSpec = KnativeServiceSpec()
    status: KnativeServiceStatus = KnativeServiceStatus()
