"""Process fitter: one profile in, one table a GPU product out: what the leader runs after a profile changed.

Reads {"measurements": [...], "statics": {...}} as JSON, writes {"fits": {...}, "error": {...}} or {"problem": "..."}.
Says what is wrong instead of failing: the leader keeps the last good tables and shows the problem on the object.
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
    """What the leader asks for: one measurement a GPU product."""

    measurements: tuple[Measurement, ...]
    statics: dict[str, float] | None = None


def answer(order: bytes, reference: Reference) -> bytes:
    """One order's answer."""
    try:
        wanted = msgspec.json.decode(order, type=FitOrder)
        return msgspec.json.encode(_fitted(wanted, reference))
    except (msgspec.DecodeError, ValueError, np.linalg.LinAlgError) as error:
        return msgspec.json.encode({"problem": str(error)})
    except MemoryError:
        problem = "the cells have too many different SM shares and quotas to be fitted: measure along a grid"
        return msgspec.json.encode({"problem": problem})


def _fitted(order: FitOrder, reference: Reference) -> dict[str, Any]:
    result: dict[str, Any] = {"fits": {}}
    off = []
    for measurement in order.measurements:
        table = fit_rapp(reference, measurement, statics=order.statics)
        result["fits"][measurement.gpu_product] = to_learned(table)
        if len(measurement.cells) >= _LEAST_JUDGED:
            off.append(np.abs(np.expm1(left_one_out(reference, measurement, statics=order.statics))))
    if off:
        errors = np.concatenate(off)
        median, p90 = (round(100.0 * float(np.quantile(errors, part)), 2) for part in (0.5, 0.9))
        result["error"] = {"medianPercent": median, "p90Percent": p90}
    return result
