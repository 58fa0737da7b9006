"""Process fitter: one profile in, one table out: what the allocator's leader runs after a profile changed.

Reads {"measurement": {...}, "statics": {...}} as JSON, writes {"learned": {...}, "error": {...}} or {"problem": "..."}.
Says what is wrong instead of failing: the leader keeps the last good table and shows the problem on the object.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from hasgpu.model.profile import Measurement
from hasgpu.prediction.rapp import fit_rapp, left_one_out
from hasgpu.prediction.reference import Reference
from hasgpu.prediction.table import to_learned

_LEAST_JUDGED = 3
"""Fewer cells can't judge each other."""


class FitOrder(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the leader asks for."""

    measurement: Measurement
    statics: dict[str, float] | None = None


def answer(order: bytes, reference: Reference) -> bytes:
    """One order's answer."""
    try:
        wanted = msgspec.json.decode(order, type=FitOrder)
        return msgspec.json.encode(_fitted(wanted, reference))
    except (msgspec.DecodeError, ValueError, np.linalg.LinAlgError) as error:
        return msgspec.json.encode({"problem": str(error)})


def _fitted(order: FitOrder, reference: Reference) -> dict[str, Any]:
    learned = to_learned(fit_rapp(reference, order.measurement, statics=order.statics))
    result: dict[str, Any] = {"learned": learned}
    if len(order.measurement.cells) >= _LEAST_JUDGED:
        off = np.abs(np.expm1(left_one_out(reference, order.measurement, statics=order.statics)))
        median, p90 = (round(100.0 * float(np.quantile(off, part)), 2) for part in (0.5, 0.9))
        result["error"] = {"medianPercent": median, "p90Percent": p90}
    return result
