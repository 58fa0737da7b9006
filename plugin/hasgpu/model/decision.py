"""A decision and its reasons: the record every log line, Event, CloudEvent and `explain` renders."""

from __future__ import annotations

from dataclasses import dataclass

from .gpu import GpuSlice
from .keys import PodKey, RevisionKey


@dataclass(frozen=True, slots=True)
class Reason:
    """One typed fact, e.g. ``Reason("row-full", (("row", 1), ("free_percent", 0)))``."""

    fact: str
    values: tuple[tuple[str, float | int | str], ...] = ()

    @property
    def text(self) -> str:
        """One line for people: ``row-full: row=1 free_percent=0``."""
        words = " ".join(f"{name}={_shown(value)}" for name, value in self.values)
        return f"{self.fact}: {words}" if words else self.fact


def reason(fact: str, **values: float | int | str) -> Reason:
    """A Reason written as it is read."""
    return Reason(fact, tuple(values.items()))


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaChange:
    """A vertical change of one running pod."""

    pod: PodKey
    old: GpuSlice
    new: GpuSlice

    @property
    def grows(self) -> bool:
        """True where room must have been freed before."""
        return self.new.time_quota > self.old.time_quota


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What to do for one revision now. ``desired_pods`` None means: leave the scale alone."""

    key: RevisionKey
    at_s: float
    demand_requests_per_s: float | None
    capacity_requests_per_s: float | None
    quota_percent: int | None
    """α: the one quota of the revision's pods."""
    desired_pods: int | None
    quota_changes: tuple[QuotaChange, ...]
    victims: tuple[PodKey, ...]
    """Pods that should leave first, cheapest first, at a decided scale-in."""
    reasons: tuple[Reason, ...]
    waiting_changes: tuple[QuotaChange, ...] = ()
    """Raises that wait until somebody's shrink is acknowledged; decided anew each time."""
    plans: tuple[GpuSlice, ...] = ()
    """Slices for pods that do not exist yet; the next unplaced pods take them."""

    @classmethod
    def hold(cls, key: RevisionKey, at_s: float, *reasons: Reason) -> Decision:
        """No opinion: nothing is changed, and why."""
        return cls(
            key=key,
            at_s=at_s,
            demand_requests_per_s=None,
            capacity_requests_per_s=None,
            quota_percent=None,
            desired_pods=None,
            quota_changes=(),
            victims=(),
            reasons=reasons,
        )


def _shown(value: float | int | str) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
