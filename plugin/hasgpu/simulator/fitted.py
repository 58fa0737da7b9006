"""Process simulator: what the leader's fitter makes of a function's profile. No I/O but for the packaged coefficients.

The autoscaler reads it from LatencyProfile.status.learned; here the same fit is made once for each profile.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from hasgpu.fitter.reference_file import packaged_reference
from hasgpu.model.profile import LatencyProfile
from hasgpu.prediction.rapp import fit_rapp
from hasgpu.prediction.reference import Reference
from hasgpu.prediction.surface import Surface
from hasgpu.prediction.table import to_learned, to_surface


@lru_cache(maxsize=1000)
def fitted_surface(profile: LatencyProfile, product: str) -> Surface:
    """The surface on a GPU product; from another's cells, marked ``foreign``, where there are none of this one."""
    serving = profile.product_serving(product)
    if serving is None:
        raise ValueError(f"profile {profile.name!r} has no cell")
    surface = to_surface(to_learned(fit_rapp(_reference(), profile.measured_on(serving)[0])))
    return replace(surface, foreign=serving != product)


@lru_cache(maxsize=1)
def _reference() -> Reference:
    return packaged_reference()
