"""What a service's load has been, five minutes by five minutes for a week, and the day that was found in it. Pure.

One byte a mean, here as in an object: a week is 2 KB. A season is a table of one day; it is read, never fitted, here.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Iterable, Mapping
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
_UNKNOWN, _NOTHING, _LEAST, _MOST = 0, 1, 2, 255
_RATES = np.array([math.nan, 0.0, *(_LEAST_PER_S * _RATIO**step for step in range(_MOST - 1))])
"""Requests/s by byte."""
_TRUST_SLOTS = 12
"""An hour: a day that is not like the others is told by the last one."""
_LEAST_EXPECTED = 10.0
"""Requests; of less nothing can be told."""


def slot_of(now: float) -> int:
    """Five minutes since the epoch."""
    return int(now // SLOT_S)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadHistory:
    """Mean requests/s of each five minutes up to a week, a byte each; 0 where it is not known."""

    first_slot: int = 0
    codes: bytes = b""

    @classmethod
    def of(cls, first_slot: int, means: Iterable[float]) -> LoadHistory:
        """Of means in requests/s; NaN where they are not known."""
        return cls(first_slot=first_slot, codes=bytes(map(_code, means)))

    @property
    def means(self) -> Floats:
        """Requests/s of each slot; NaN where it is not known."""
        return _rates(self.codes)

    @property
    def end_slot(self) -> int:
        """The slot after the last."""
        return self.first_slot + len(self.codes)

    @property
    def days(self) -> float:
        """How much of it is known."""
        return (len(self.codes) - self.codes.count(_UNKNOWN)) / SLOTS_A_DAY

    def recorded(self, slot: int, requests_per_s: float) -> LoadHistory:
        """With one slot more; a slot of the past changes nothing."""
        if slot < self.end_slot and self.codes:
            return self
        gap = slot - self.end_slot if self.codes else 0
        if gap >= DAYS_KEPT * SLOTS_A_DAY:
            return LoadHistory.of(slot, [requests_per_s])
        codes = (self.codes + bytes(gap) + bytes([_code(requests_per_s)]))[-DAYS_KEPT * SLOTS_A_DAY :]
        return LoadHistory(first_slot=slot + 1 - len(codes), codes=codes)

    def since(self, slot: int) -> Floats:
        """Means from a slot on."""
        return _rates(self.codes[max(0, slot - self.first_slot) :])

    def last(self, slots: int, before: int) -> Floats:
        """Means of the slots before one, NaN where there is none."""
        there = range(self.first_slot, self.end_slot)
        wanted = range(before - slots, before)
        return _rates(bytes(self.codes[slot - self.first_slot] if slot in there else _UNKNOWN for slot in wanted))

    def to_plain(self) -> dict[str, Any]:
        """For an object's status."""
        return {"firstSlot": self.first_slot, "means": base64.b64encode(self.codes).decode()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Season:
    """Mean requests/s by time of day (UTC), a byte each; nothing at all where no day repeats."""

    codes: bytes
    fitted_slot: int
    """The slot after the last it was made of."""
    part: float = 1.0
    """Of all its means, as far as the day is believed to be like it."""

    @classmethod
    def of(cls, requests_per_s: Iterable[float], fitted_slot: int) -> Season:
        """Of a day's means in requests/s."""
        return cls(codes=bytes(map(_code, requests_per_s)), fitted_slot=fitted_slot)

    @property
    def requests_per_s(self) -> Floats:
        """Of each slot of the day."""
        return self.part * _rates(self.codes)

    @property
    def flat(self) -> bool:
        """True where the record was looked at and no day was found."""
        return max(self.codes) == _NOTHING

    def expected_per_s(self, now: float, ahead_s: float = 0.0) -> float:
        """The most within a time that begins now."""
        slots = range(slot_of(now), slot_of(now + ahead_s) + 1)[:SLOTS_A_DAY]
        return self.part * float(_RATES[max(self.codes[slot % SLOTS_A_DAY] for slot in slots)])

    def trusted(self, history: LoadHistory, now: float) -> Season:
        """As far as the last hour was like it: on a day without load nobody is kept ready for the usual one."""
        slot = slot_of(now)
        came = history.last(_TRUST_SLOTS, slot)
        usual = _rates(bytes(self.codes[each % SLOTS_A_DAY] for each in range(slot - _TRUST_SLOTS, slot)))
        known = ~np.isnan(came)
        expected = float(usual[known].sum()) * SLOT_S
        if expected < _LEAST_EXPECTED:
            return self
        return replace(self, part=min(1.0, float(came[known].sum()) * SLOT_S / expected))

    def to_plain(self) -> dict[str, Any]:
        """For an object's status."""
        return {"means": base64.b64encode(self.codes).decode(), "fittedSlot": self.fitted_slot}


def to_history(plain: Mapping[str, Any]) -> LoadHistory:
    """What ``LoadHistory.to_plain`` made; ValueError where it did not."""
    codes = _decoded(plain.get("means"))
    if len(codes) > DAYS_KEPT * SLOTS_A_DAY:
        raise ValueError(f"a load history of {len(codes)} means is longer than a week")
    return LoadHistory(first_slot=_whole(plain, "firstSlot"), codes=codes)


def to_season(plain: Mapping[str, Any]) -> Season:
    """What ``Season.to_plain`` made; ValueError where it did not."""
    codes = _decoded(plain.get("means"))
    if len(codes) != SLOTS_A_DAY or _UNKNOWN in codes:
        raise ValueError(f"a season must have {SLOTS_A_DAY} means, all of them known")
    return Season(codes=codes, fitted_slot=_whole(plain, "fittedSlot"))


def _whole(plain: Mapping[str, Any], key: str) -> int:
    value = plain.get(key)
    if not isinstance(value, int) or not 0 <= value < 2**40:
        raise ValueError(f"{key} must be a number of five minutes, was {value!r}")
    return value


def _code(mean: float) -> int:
    """0 unknown, 1 nothing, then in equal steps of the logarithm."""
    if math.isnan(mean):
        return _UNKNOWN
    if mean < 0.7 * _LEAST_PER_S:
        return _NOTHING
    return min(max(round(math.log(mean / _LEAST_PER_S, _RATIO)) + _LEAST, _LEAST), _MOST)


def _rates(codes: bytes) -> Floats:
    result: Floats = _RATES[np.frombuffer(codes, dtype=np.uint8)]
    return result


def _decoded(text: object) -> bytes:
    if not isinstance(text, str):
        raise ValueError(f"means must be base64, was {text!r}")
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(f"means must be base64: {error}") from error
