"""Process cli: what a LatencyProfile has for a verb, and the object as it is written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from hasgpu.model.annotations import STATIC_FEATURES
from hasgpu.model.profile import LatencyProfile, Measurement
from hasgpu.simulator.profile_file import KIND

from .command import Trouble


def measurement_of(profile: LatencyProfile, gpu_product: str | None) -> Measurement:
    """The one of a GPU product; without a name the only one."""
    measured = profile.measurements
    names = [m.gpu_product for m in measured]
    if gpu_product is None:
        if len(measured) > 1:
            raise Trouble(f"profile {profile.name}: choose one with --gpu-product: {', '.join(names)}")
        if not measured:
            return Measurement(gpu_product="unknown", gate="launch", window_ms=40.0, cells=())
        return measured[0]
    found = [m for m in measured if m.gpu_product == gpu_product]
    if not found:
        raise Trouble(f"profile {profile.name}: no cells of {gpu_product}; there are: {', '.join(names)}")
    return found[0]


def profile_object(
    name: str,
    model: str,
    memory: str | None,
    measurement: Mapping[str, Any] | None,
    statics: Mapping[str, float] | None,
) -> dict[str, Any]:
    """The object as YAML holds it."""
    metadata: dict[str, Any] = {"name": name}
    if statics:
        metadata["annotations"] = {STATIC_FEATURES: msgspec.json.encode(dict(statics)).decode()}
    spec: dict[str, Any] = {"model": model}
    if memory:
        spec["memory"] = memory
    if measurement is not None:
        spec["measurements"] = [dict(measurement)]
    return {"apiVersion": "hasgpu.dev/v1alpha1", "kind": KIND, "metadata": metadata, "spec": spec}
