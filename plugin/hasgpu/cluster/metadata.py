"""Adapter cluster: what every object of the API server has. Only fields that somebody reads."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

import msgspec


class OwnerReference(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Who made an object."""

    api_version: str
    kind: str
    name: str
    uid: str
    controller: bool = False


class Metadata(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """ObjectMeta."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    owner_references: tuple[OwnerReference, ...] = ()
    finalizers: tuple[str, ...] = ()
    creation_timestamp: datetime | None = None
    deletion_timestamp: datetime | None = None

    @property
    def controller(self) -> OwnerReference | None:
        """The owner that controls the object."""
        return next((owner for owner in self.owner_references if owner.controller), None)


class HasMetadata(Protocol):
    """Anything a reflector can hold."""

    @property
    def metadata(self) -> Metadata: ...


class Condition(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A condition of a status, Kubernetes' or Knative's; severity is Knative's own."""

    type: str
    status: str
    reason: str = ""
    message: str = ""
    severity: str = ""
    last_transition_time: datetime | None = None
    observed_generation: int = 0


def condition(conditions: tuple[Condition, ...], type: str) -> Condition | None:
    """The condition of that type."""
    for each in conditions:
        if each.type == type:
            return each
    return None


def is_true(conditions: tuple[Condition, ...], type: str) -> bool:
    """True only where the condition is there and True."""
    found = condition(conditions, type)
    return found is not None and found.status == "True"
