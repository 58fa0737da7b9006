"""Process cli: LatencyProfile objects in YAML files. Errors name file and key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import yaml

from hasgpu.cluster.custom import LatencyProfile as Wire
from hasgpu.cluster.custom import to_profile
from hasgpu.cluster.errors import ClusterError
from hasgpu.model.annotations import STATIC_FEATURES
from hasgpu.model.profile import LatencyProfile, Measurement

from .command import Trouble

KIND = "LatencyProfile"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileFile:
    """A profile as read."""

    profile: LatencyProfile
    statics: Mapping[str, float] | None

    def measurement(self, gpu_product: str | None) -> Measurement:
        """The one of a GPU product; without a name the only one."""
        measured = self.profile.measurements
        names = [m.gpu_product for m in measured]
        if gpu_product is None:
            if len(measured) > 1:
                raise Trouble(f"profile {self.profile.name}: choose one with --gpu-product: {', '.join(names)}")
            if not measured:
                return Measurement(gpu_product="unknown", gate="launch", window_ms=40.0, cells=())
            return measured[0]
        found = [m for m in measured if m.gpu_product == gpu_product]
        if not found:
            raise Trouble(f"profile {self.profile.name}: no cells of {gpu_product}; there are: {', '.join(names)}")
        return found[0]


def read_profile(path: Path) -> ProfileFile:
    """The LatencyProfile in a YAML file."""
    try:
        raw = yaml.safe_load(path.read_text())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        raise Trouble(f"{path}{place}: {error.problem}") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise Trouble(f"{path}: {' '.join(str(error).split())}") from error
    if not isinstance(raw, dict) or raw.get("kind") != KIND:
        raise Trouble(f"{path}: kind must be {KIND}")
    try:
        wire = msgspec.convert(raw, Wire)
        annotations = raw.get("metadata", {}).get("annotations") or {}
        statics = annotations.get(STATIC_FEATURES)
        return ProfileFile(
            profile=to_profile(wire), statics=msgspec.json.decode(statics, type=dict[str, float]) if statics else None
        )
    except (msgspec.ValidationError, msgspec.DecodeError, ClusterError, ValueError) as error:
        raise Trouble(f"{path}: {error}") from error


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
