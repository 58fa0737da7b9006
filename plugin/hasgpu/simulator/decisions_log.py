"""Process simulator: what was decided and why, one JSON object a line; what ``kn hasgpu explain`` reads. No I/O.

The fields are those of the live autoscaler's log lines, but for the time: seconds of virtual time.
A decision that changes nothing and repeats the facts of the one before is not kept.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from hasgpu.model.decision import Decision, Reason
from hasgpu.model.keys import RevisionKey


class DecisionsLog:
    """Lines in the order they were decided."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._told: dict[RevisionKey, tuple[str, ...]] = {}

    def decided(self, decision: Decision) -> None:
        """A decision of our class."""
        facts = tuple(each.fact for each in decision.reasons)
        if not decision.quota_changes and not decision.plans and self._told.get(decision.key) == facts:
            return
        self._told[decision.key] = facts
        self._line(
            decision.key,
            decision.at_s,
            {
                "demand_requests_per_s": _rounded(decision.demand_requests_per_s),
                "capacity_requests_per_s": _rounded(decision.capacity_requests_per_s),
                "quota_percent": decision.quota_percent,
                "pods_to": decision.desired_pods,
                "quota_changes": {
                    each.pod.name: f"{each.old.time_quota.percent} % -> {each.new.time_quota.percent} %"
                    for each in decision.quota_changes
                },
            },
            decision.reasons,
        )

    def said(self, key: RevisionKey, at_s: float, reasons: Iterable[Reason]) -> None:
        """A rival's decision: its facts alone."""
        self._line(key, at_s, {}, tuple(reasons))

    def _line(self, key: RevisionKey, at_s: float, what: dict[str, object], reasons: tuple[Reason, ...]) -> None:
        told = {
            "at_s": round(at_s, 3),
            "namespace": key.namespace,
            "revision": key.name,
            **what,
            "reasons": [
                {"fact": each.fact, **{name: _rounded(value) for name, value in each.values}} for each in reasons
            ],
        }
        self.lines.append(json.dumps(told, separators=(",", ":")))


def _rounded(value: float | int | str | None) -> float | int | str | None:
    return round(value, 4) if isinstance(value, float) else value
