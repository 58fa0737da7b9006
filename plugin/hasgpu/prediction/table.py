"""The table that a fit leaves for serving: small enough for an object's status, quick enough for every decision.

A plain mapping of lists, since it travels as JSON: the fitter makes it, LatencyProfile.status.learned holds it, the
autoscaler reads it as a Surface. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .rapp import RappTable
from .surface import Line, Surface

VERSION = 1
MOST_BYTES = 64 * 1024
_DIGITS = 5
_LAUNCHING = 10, 50
"""Quotas at which launching takes longer than the work; the least are rarely measured."""


def to_learned(table: RappTable) -> dict[str, Any]:
    """What is written: work and its half-width at quota 100, and launching one request on the whole GPU.

    The half-width of launching, by SM share, is that of small quotas, at which it is what takes time.
    """
    whole = table.quotas.index(100)
    between = [index for index, quota in enumerate(table.quotas) if _LAUNCHING[0] <= quota <= _LAUNCHING[1]]
    return {
        "version": VERSION,
        "gate": table.gate,
        "windowMs": round(1000.0 * table.window_s, 3),
        "batches": list(table.batches),
        "sms": list(table.sms),
        "quotas": list(table.quotas),
        "workMs": [_rounded(1000.0 * np.exp(line)) for line in table.log_latency[:, :, whole]],
        "spread": [_rounded(np.expm1(line)) for line in table.half_width[:, :, whole]],
        "launchMs": _rounded(1000.0 * np.exp(table.log_latency[0, -1, :])),
        "launchSpread": _rounded(np.expm1(np.median(table.half_width[0][:, between], axis=1))),
    }


def to_surface(learned: Mapping[str, Any]) -> Surface:
    """What is read; ValueError names the key that makes no sense."""
    if learned.get("version") != VERSION:
        raise ValueError(f"version must be {VERSION}, was: {learned.get('version')!r}")
    batches, sms, quotas = (_wholes(learned, key) for key in ("batches", "sms", "quotas"))
    work, spread = (_lines(learned, key, batches, sms) for key in ("workMs", "spread"))
    launch = _row("launchMs", learned.get("launchMs"), len(quotas))
    doubt = learned.get("launchSpread")
    return Surface(
        batches=batches,
        over_sm=tuple(_line(sms, [v / 1000.0 for v in row], slope_below=-1.0) for row in work),
        over_quota=_line(quotas, [v / 1000.0 for v in launch], slope_below=-1.0),
        spreads=tuple(_line(sms, row, slope_below=0.0) for row in spread),
        launch_spreads=None if doubt is None else _line(sms, _row("launchSpread", doubt, len(sms)), slope_below=0.0),
    )


def _rounded(values: Any) -> list[float]:
    return [float(f"{float(value):.{_DIGITS}g}") for value in values]


def _wholes(learned: Mapping[str, Any], key: str) -> tuple[int, ...]:
    found = learned.get(key)
    if not isinstance(found, list) or not found or sorted({*found}) != found or not all(type(v) is int for v in found):
        raise ValueError(f"{key} must be rising whole numbers, was: {found!r}")
    return tuple(found)


def _lines(
    learned: Mapping[str, Any], key: str, batches: Sequence[int], sms: Sequence[int]
) -> tuple[Sequence[float], ...]:
    found = learned.get(key)
    if not isinstance(found, list) or len(found) != len(batches):
        raise ValueError(f"{key} must have one row for each of {len(batches)} batches")
    return tuple(_row(key, row, len(sms)) for row in found)


def _row(key: str, row: object, length: int) -> Sequence[float]:
    if not isinstance(row, list) or len(row) != length:
        raise ValueError(f"{key} must have rows of {length} numbers")
    for value in row:
        if not isinstance(value, int | float) or not 0.0 < value < math.inf:
            raise ValueError(f"{key} must be numbers above 0, was: {value!r}")
    return [float(value) for value in row]


def _line(at: Sequence[int], values: Sequence[float], *, slope_below: float) -> Line:
    return Line(
        at=tuple(math.log(x) for x in at),
        log_seconds=tuple(math.log(value) for value in values),
        slope_below=slope_below,
        slope_above=0.0,
    )
