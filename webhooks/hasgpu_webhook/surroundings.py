"""What is known of the cluster when an object is admitted. Pure values; None always means "not known"."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Injection:
    """What config-hasgpu says of the things put into pods and templates."""

    sidecar_image: str
    image_pull_policy: str
    image_pull_secrets: tuple[str, ...]
    runtime_class: str | None
    """None: pods keep the runtime class they have."""
    tolerations: tuple[Mapping[str, object], ...]
    progress_deadline: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """A snapshot, taken without asking anyone. What is not known never refuses an object."""

    gpu_memory_bytes: Mapping[str, int] | None = None
    """By GPU product, the largest device's memory."""
    pod_security: str | None = None
    """The Pod Security level that the object's namespace enforces."""
    secure_pod_defaults: str = "disabled"
    """Knative's setting of that name: whether it fills in the security context that ``restricted`` asks for."""
    runtime_classes: frozenset[str] | None = None
    autoscaler_trouble: str | None = None
    """Why GPU services are not scaled now, where that has lasted."""
