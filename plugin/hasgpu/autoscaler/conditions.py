"""Process autoscaler: Knative's algebra of conditions, where Ready follows its dependents. Pure; told the time.

Reference: knative.dev/pkg apis/condition_set.go and reconciler/reconcile_common.go. Transition times matter: they are
the timers of scale-to-zero, and a reason rewritten at each reconcile would restart them forever.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

from hasgpu.cluster.metadata import Condition

Status = Literal["True", "False", "Unknown"]
READY = "Ready"


class Conditions:
    """A living condition set under change. ``dependents`` are the conditions that Ready is made of."""

    def __init__(self, dependents: Sequence[str], conditions: Iterable[Condition]) -> None:
        self._dependents = tuple(dependents)
        self._before = {each.type: each for each in conditions}
        self._now = dict(self._before)
        # When each was last set in this reconcile: of two set now the later one is the newer one.
        self._set_at: dict[str, int] = {}
        self._steps = 0

    def get(self, type: str) -> Condition | None:
        """The condition as it stands now."""
        return self._now.get(type)

    def status(self, type: str) -> Status:
        """True, False or Unknown; a missing condition is Unknown."""
        found = self._now.get(type)
        if found is None or found.status not in ("True", "False"):
            return "Unknown"
        return "True" if found.status == "True" else "False"

    def initialize(self) -> None:
        """Add what is missing as Unknown; dependents of an object that is Ready already as True."""
        if READY not in self._now:
            self._set(READY, "Unknown")
        status: Status = "True" if self.status(READY) == "True" else "Unknown"
        for dependent in self._dependents:
            if dependent not in self._now:
                self._set(dependent, status)

    def mark_true(self, type: str) -> None:
        """Set True and let Ready follow the least happy dependent."""
        self._set(type, "True")
        unhappy = self._unhappy()
        if unhappy is not None:
            self._set(READY, unhappy.status, unhappy.reason, unhappy.message)
        elif type != READY:
            self._set(READY, "True")

    def mark_unknown(self, type: str, reason: str, message: str) -> None:
        """Set Unknown; Ready becomes Unknown too, unless a dependent is False."""
        self._set(type, "Unknown", reason, message)
        if any(self._is_false(each) for each in self._dependents):
            if not self._is_false(READY):
                self._set(READY, "False", reason, message)
        elif type in self._dependents:
            self._set(READY, "Unknown", reason, message)

    def mark_false(self, type: str, reason: str, message: str) -> None:
        """Set False, and Ready with it."""
        self._set(type, "False", reason, message)
        if type in self._dependents:
            self._set(READY, "False", reason, message)

    def settled(self, now: float) -> tuple[Condition, ...]:
        """All conditions by type; those that changed in anything since the start get ``now`` as transition time."""
        at = datetime.fromtimestamp(int(now), UTC)
        return tuple(self._settled(each, at) for _, each in sorted(self._now.items()))

    def _settled(self, condition: Condition, at: datetime) -> Condition:
        before = self._before.get(condition.type)
        if before is not None and same(before, condition):
            return before
        return msgspec.structs.replace(condition, last_transition_time=at)

    def _set(self, type: str, status: str, reason: str = "", message: str = "") -> None:
        condition = Condition(type=type, status=status, reason=reason, message=message)
        old = self._now.get(type)
        if old is not None:
            condition = msgspec.structs.replace(condition, last_transition_time=old.last_transition_time)
            if same(old, condition):
                return
        self._now[type] = condition
        self._steps += 1
        self._set_at[type] = self._steps

    def _is_false(self, type: str) -> bool:
        return self.status(type) == "False"

    def _unhappy(self) -> Condition | None:
        """What Ready has to repeat: the newest False, else the newest Unknown; None where all are True."""
        errors = [each for name, each in sorted(self._now.items()) if name != READY and not each.severity]
        errors.sort(key=self._age_order, reverse=True)
        for status in ("False", "Unknown"):
            for each in errors:
                if each.status == status:
                    return each
        if len(errors) < len(self._dependents):
            return Condition(type="", status="Unknown")
        return None

    def _age_order(self, condition: Condition) -> tuple[int, float]:
        changed = condition.last_transition_time
        return self._set_at.get(condition.type, -1), changed.timestamp() if changed is not None else 0.0


def same(one: Condition, other: Condition) -> bool:
    """Equal in all but the transition time."""
    return (one.status, one.reason, one.message, one.severity) == (
        other.status,
        other.reason,
        other.message,
        other.severity,
    )


def to_wire(conditions: Iterable[Condition]) -> list[dict[str, Any]]:
    """As the API server stores them: RFC 3339 in whole seconds, empty fields left out."""
    return [_to_wire(each) for each in conditions]


def _to_wire(condition: Condition) -> dict[str, Any]:
    at = condition.last_transition_time
    stamp = at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if at is not None else None
    fields = {
        "type": condition.type,
        "status": condition.status,
        "severity": condition.severity,
        "lastTransitionTime": stamp,
        "reason": condition.reason,
        "message": condition.message,
    }
    return {name: value for name, value in fields.items() if value or name == "lastTransitionTime"}
