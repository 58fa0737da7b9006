"""What the webhook reads of a pod, a Service and a Configuration: typed, everything else is left alone. Pure.

A field that is absent (or null) is None, so that the patch knows which parents it must make.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

JsonObject: TypeAlias = dict[str, object]


class Metadata(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Of any object."""

    name: str | None = None
    namespace: str | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    deletion_timestamp: str | None = None


class EnvVar(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One environment variable of a container."""

    name: str
    value: str | None = None
    value_from: JsonObject | None = None


class VolumeMount(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Where a container sees a volume."""

    name: str = ""
    mount_path: str = ""


class Port(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A port that a container declares."""

    container_port: int = 0


class Resources(msgspec.Struct, frozen=True, kw_only=True):
    """Requests and limits; a quantity may be written as a number."""

    requests: JsonObject | None = None
    limits: JsonObject | None = None


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """Linux capabilities of a container."""

    add: list[str] | None = None
    drop: list[str] | None = None


class SeccompProfile(msgspec.Struct, frozen=True, kw_only=True):
    """The seccomp filter of a container."""

    type: str = ""


class SecurityContext(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Of a pod or of a container; Pod Security judges these fields."""

    run_as_non_root: bool | None = None
    allow_privilege_escalation: bool | None = None
    capabilities: Capabilities | None = None
    seccomp_profile: SeccompProfile | None = None


class Container(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A container, an init container or a native sidecar."""

    name: str = ""
    env: list[EnvVar] | None = None
    volume_mounts: list[VolumeMount] | None = None
    ports: list[Port] | None = None
    resources: Resources | None = None
    security_context: SecurityContext | None = None
    readiness_probe: JsonObject | None = None


class PodSpec(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Of a pod, and of a Service's template."""

    containers: list[Container] = []
    init_containers: list[JsonObject] | None = None
    volumes: list[JsonObject] | None = None
    tolerations: list[JsonObject] | None = None
    scheduling_gates: list[JsonObject] | None = None
    image_pull_secrets: list[JsonObject] | None = None
    runtime_class_name: str | None = None
    security_context: SecurityContext | None = None

    @property
    def starters(self) -> list[Container]:
        """The init containers, typed as the others."""
        return [msgspec.convert(container, Container) for container in self.init_containers or ()]


class Pod(msgspec.Struct, frozen=True, kw_only=True):
    """A pod at its creation."""

    metadata: Metadata
    spec: PodSpec


class Template(msgspec.Struct, frozen=True, kw_only=True):
    """The revision template of a Service."""

    metadata: Metadata = Metadata()
    spec: PodSpec = PodSpec()

    @property
    def annotations(self) -> dict[str, str]:
        """Empty where there are none."""
        return self.metadata.annotations or {}


class ServiceSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Of a Service or a Configuration."""

    template: Template = Template()


class Service(msgspec.Struct, frozen=True, kw_only=True):
    """A Knative Service, or a Configuration: both hold a revision template at the same place."""

    metadata: Metadata
    spec: ServiceSpec = ServiceSpec()
