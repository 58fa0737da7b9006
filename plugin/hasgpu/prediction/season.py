"""What a service's load has been, five minutes by five minutes for a week, and the day that was found in it. Pure.

One byte a mean: a week is 2.7 KB in an object. A season is a table of one day; it is read, never fitted, here.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

SLOT_S = 300.0
SLOTS_A_DAY = 288
DAYS_KEPT = 7
DAYS_NEEDED = 2
"""Before which nothing can be called a daily season."""

_LEAST_PER_S, _RATIO = 0.003, 1.06
"""The byte 2 and the step from one byte to the next: from a request in five minutes to 7,000 a second, within 3 %."""
_TRUST_SLOTS = 12
"""An hour: a day that is not like the others is told by the last one."""
_LEAST_EXPECTED = 10.0
"""Requests; of less nothing can be told."""


def slot_of(now: float) -> int:
    """Five minutes since the epoch."""
    return int(now // SLOT_S)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadHistory:
    """Mean requests/s of each five minutes up to a week; NaN where it is not known."""

    first_slot: int = 0
    means: tuple[float, ...] = ()

    @property
    def end_slot(self) -> int:
        """The slot after the last."""
        return self.first_slot + len(self.means)

    @property
    def days(self) -> float:
        """How much of it is known."""
        return sum(not math.isnan(mean) for mean in self.means) / SLOTS_A_DAY

    def recorded(self, slot: int, requests_per_s: float) -> LoadHistory:
        """With one slot more; a slot of the past changes nothing."""
        if slot < self.end_slot and self.means:
            return self
        gap = slot - self.end_slot if self.means else 0
        if gap >= DAYS_KEPT * SLOTS_A_DAY:
            return LoadHistory(first_slot=slot, means=(requests_per_s,))
        means = (*self.means, *[math.nan] * gap, requests_per_s)[-DAYS_KEPT * SLOTS_A_DAY :]
        return LoadHistory(first_slot=slot + 1 - len(means), means=means)

    def last(self, slots: int, before: int) -> Floats:
        """Means of the slots before one, NaN where there is none."""
        wanted = range(before - slots, before)
        there = range(self.first_slot, self.end_slot)
        return np.array([self.means[slot - self.first_slot] if slot in there else math.nan for slot in wanted])

    def to_plain(self) -> dict[str, Any]:
        """For an object's status."""
        return {"firstSlot": self.first_slot, "means": _coded(np.array(self.means))}


@dataclass(frozen=True, slots=True, kw_only=True)
class Season:
    """Mean requests/s by time of day (UTC), and how fast the load strays from it."""

    requests_per_s: tuple[float, ...]
    drift_per_s: float
    """Variance that a second adds to the root of the rate beside the season."""
    fitted_slot: int
    """The slot after the last it was made of."""

    def expected_per_s(self, now: float, ahead_s: float = 0.0) -> float:
        """The most within a time that begins now."""
        slots = range(slot_of(now), slot_of(now + ahead_s) + 1)
        return max(self.requests_per_s[slot % SLOTS_A_DAY] for slot in slots[:SLOTS_A_DAY])

    def trusted(self, history: LoadHistory, now: float) -> Season:
        """As far as the last hour was like it: on a day without load nobody is kept ready for the usual one."""
        came = history.last(_TRUST_SLOTS, slot_of(now))
        usual = np.array(
            [self.requests_per_s[slot % SLOTS_A_DAY] for slot in range(slot_of(now) - len(came), slot_of(now))]
        )
        known = ~np.isnan(came)
        expected = float(usual[known].sum()) * SLOT_S
        if expected < _LEAST_EXPECTED:
            return self
        part = min(1.0, float(came[known].sum()) * SLOT_S / expected)
        return replace(self, requests_per_s=tuple(part * rate for rate in self.requests_per_s))

    def to_plain(self) -> dict[str, Any]:
        """For an object's status."""
        means = _coded(np.array(self.requests_per_s))
        return {"means": means, "driftPerS": float(f"{self.drift_per_s:.3g}"), "fittedSlot": self.fitted_slot}


def to_history(plain: Mapping[str, Any]) -> LoadHistory:
    """What ``LoadHistory.to_plain`` made; ValueError where it did not."""
    means = _decoded(plain.get("means"))
    if len(means) > DAYS_KEPT * SLOTS_A_DAY:
        raise ValueError(f"a load history of {len(means)} means is longer than a week")
    return LoadHistory(first_slot=_whole(plain, "firstSlot"), means=means)


def to_season(plain: Mapping[str, Any]) -> Season:
    """What ``Season.to_plain`` made; ValueError where it did not."""
    means, drift = _decoded(plain.get("means")), plain.get("driftPerS")
    if len(means) != SLOTS_A_DAY or any(math.isnan(mean) for mean in means):
        raise ValueError(f"a season must have {SLOTS_A_DAY} means")
    if not isinstance(drift, int | float) or not 0.0 <= drift < math.inf:
        raise ValueError(f"driftPerS must be a variance, was {drift!r}")
    return Season(requests_per_s=means, drift_per_s=float(drift), fitted_slot=_whole(plain, "fittedSlot"))


def _whole(plain: Mapping[str, Any], key: str) -> int:
    value = plain.get(key)
    if not isinstance(value, int) or not 0 <= value < 2**40:
        raise ValueError(f"{key} must be a number of five minutes, was {value!r}")
    return value


def _coded(means: Floats) -> str:
    """A byte each: 0 unknown, 1 nothing, then in equal steps of the logarithm."""
    known = np.nan_to_num(means, nan=0.0)
    steps = np.rint(np.log(np.maximum(known, 1e-9) / _LEAST_PER_S) / math.log(_RATIO))
    codes = np.where(steps < -6.0, 1, np.clip(steps + 2, 2, 255))
    return base64.b64encode(np.where(np.isnan(means), 0, codes).astype(np.uint8).tobytes()).decode()


def _decoded(text: object) -> tuple[float, ...]:
    if not isinstance(text, str):
        raise ValueError(f"means must be base64, was {text!r}")
    codes = np.frombuffer(base64.b64decode(text, validate=True), dtype=np.uint8)
    means = _LEAST_PER_S * _RATIO ** (codes.astype(np.float64) - 2.0)
    return tuple(np.where(codes == 0, math.nan, np.where(codes == 1, 0.0, means)).tolist())
