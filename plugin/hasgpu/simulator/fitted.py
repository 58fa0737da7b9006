"""Process simulator: what the leader's fitter makes of a function's profile. No I/O but for the packaged coefficients.

The autoscaler reads it from LatencyProfile.status.learned; here the same fit is made once for each profile.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from hasgpu.fitter.reference_file import packaged_reference
from hasgpu.model.profile import LatencyProfile, Measurement
from hasgpu.prediction.rapp import fit_rapp
from hasgpu.prediction.reference import Reference
from hasgpu.prediction.surface import Surface
from hasgpu.prediction.table import to_learned, to_surface

Statics = tuple[tuple[str, float], ...]
"""Operator counts of a model by name, rising."""


@lru_cache(maxsize=1000)
def fitted_surface(profile: LatencyProfile, product: str, statics: Statics = ()) -> Surface:
    """The surface on a GPU product; from another's cells, marked ``foreign``, where there are none of this one.

    Without any cell what the counts say; without those either ValueError.
    """
    serving = profile.product_serving(product)
    if serving is not None:
        measured = profile.measured_on(serving)[0]
    elif statics:
        measured = Measurement(gpu_product=product, gate="launch", window_ms=40.0, cells=())
    else:
        raise ValueError(f"profile {profile.name!r} has neither a cell nor operator counts")
    surface = to_surface(to_learned(fit_rapp(_reference(), measured, statics=dict(statics))))
    return replace(surface, foreign=serving not in (None, product))


@lru_cache(maxsize=1)
def _reference() -> Reference:
    return packaged_reference()
