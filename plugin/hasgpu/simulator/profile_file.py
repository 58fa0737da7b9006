"""Process simulator: LatencyProfile objects in YAML files. Errors (InputError) name file and line.

Unlike in objects of the API server, which may be newer than we are, a field that nobody knows is an error: a typo.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import yaml

from hasgpu.cluster import custom
from hasgpu.cluster.errors import ClusterError
from hasgpu.fitter.errors import InputError
from hasgpu.model.annotations import STATIC_FEATURES
from hasgpu.model.profile import LatencyProfile

from .located import Located, composed, located

KIND = "LatencyProfile"
_TOP = ("apiVersion", "kind", "metadata", "spec", "status")
_METADATA = (
    *("name", "generateName", "namespace", "labels", "annotations", "uid", "resourceVersion", "generation"),
    *("creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "ownerReferences", "finalizers"),
    *("managedFields", "selfLink"),
)
"""Kubernetes' ObjectMeta."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileFile:
    """A profile as read."""

    profile: LatencyProfile
    statics: Mapping[str, float] | None
    """Operator counts of the model, where the file has them."""


def read_profile(path: Path) -> ProfileFile:
    """The LatencyProfile in a YAML file. OSError is the caller's."""
    file = str(path)
    try:
        node = composed(file, path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise InputError(file, 1, f"is no text: {error}") from error
    top = located(file, node)
    if top.text("kind") != KIND:
        raise top.error("kind", f"kind must be {KIND}")
    _only_known(top)
    try:
        wire = msgspec.convert(yaml.SafeLoader("").construct_document(node), custom.LatencyProfile)
        profile = custom.to_profile(wire)
    except (ClusterError, ValueError, yaml.YAMLError) as error:  # msgspec's are ValueErrors
        raise InputError(file, _line(node, str(error)), " ".join(str(error).split())) from error
    counts = wire.metadata.annotations.get(STATIC_FEATURES)
    try:
        statics = msgspec.json.decode(counts, type=dict[str, float]) if counts else None
    except msgspec.DecodeError as error:
        raise InputError(file, _line(node, "metadata.annotations"), f"{STATIC_FEATURES}: {error}") from error
    return ProfileFile(profile=profile, statics=statics)


def _only_known(top: Located) -> None:
    top.only(_TOP)
    if (metadata := top.mapping("metadata")) is not None:
        metadata.only(_METADATA)
    if (spec := top.mapping("spec")) is None:
        return
    spec.only(_fields(custom.ProfileSpec))
    for measurement in spec.mappings("measurements", least=0):
        measurement.only(_fields(custom.ProfileMeasurement))
        for cell in measurement.mappings("cells", least=0):
            cell.only(_fields(custom.ProfileCell))


def _fields(struct: type[msgspec.Struct]) -> tuple[str, ...]:
    return tuple(field.encode_name for field in msgspec.structs.fields(struct))


def _line(node: yaml.Node, told: str) -> int:
    """Where the field stands that an error tells of, e.g. spec.measurements[0].cells[3].sm, or what holds it."""
    named = re.findall(r"\b(?:spec|metadata)(?:\.\w+|\[\d+\])*", told)
    line = node.start_mark.line + 1
    for step in re.findall(r"\w+", named[-1]) if named else ():
        found: Any = None
        if isinstance(node, yaml.MappingNode):
            found = next((pair for pair in node.value if pair[0].value == step), None)
        elif isinstance(node, yaml.SequenceNode):
            found = (node.value[int(step)],) * 2
        if found is None:
            break
        line, node = found[0].start_mark.line + 1, found[1]
    return line
