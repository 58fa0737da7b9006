"""Process fitter: one profile in, one table a GPU product out; loads in, their days out. What the leader runs.

Reads {"measurements": [...], "statics": {...}} as JSON, writes {"fits": {...}, "error": {...}}; reads {"histories":
{...}}, by service, writes {"seasons": {...}}, null where less than two days are known. Or writes {"problem": "..."}.
Says what is wrong instead of failing: the leader keeps the last good tables and shows the problem on the object.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from hasgpu.model.profile import Measurement
from hasgpu.prediction.rapp import fit_rapp, left_one_out
from hasgpu.prediction.reference import Reference
from hasgpu.prediction.season import to_history
from hasgpu.prediction.table import to_learned

_LEAST_JUDGED = 3
"""Fewer cells can't judge each other."""


class FitOrder(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the leader asks for: one measurement a GPU product, or the seasons of loads."""

    measurements: tuple[Measurement, ...] = ()
    statics: dict[str, float] | None = None
    histories: dict[str, dict[str, Any]] = {}


def answer(order: bytes, reference: Reference) -> bytes:
    """One order's answer."""
    try:
        wanted = msgspec.json.decode(order, type=FitOrder)
        return msgspec.json.encode(_seasons(wanted) if wanted.histories else _fitted(wanted, reference))
    except (msgspec.DecodeError, ValueError, np.linalg.LinAlgError) as error:
        return msgspec.json.encode({"problem": str(error)})
    except MemoryError:
        problem = "the cells have too many different SM shares and quotas to be fitted: measure along a grid"
        return msgspec.json.encode({"problem": problem})
    except ImportError as error:
        return msgspec.json.encode({"problem": f"{error}: a season needs statsmodels"})


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


def _seasons(order: FitOrder) -> dict[str, Any]:
    # Loads statsmodels, which takes seconds: a profile must be fitted at once.
    from .season import fit_season

    found = {service: fit_season(to_history(plain)) for service, plain in order.histories.items()}
    return {"seasons": {service: season.to_plain() if season else None for service, season in found.items()}}
