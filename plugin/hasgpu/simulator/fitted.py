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
    measured = [each for each in profile.measurements if each.cells]
    own = [each for each in measured if each.gpu_product == product]
    surface = to_surface(to_learned(fit_rapp(_reference(), (own or measured)[0])))
    return surface if own else replace(surface, foreign=True)


@lru_cache(maxsize=1)
def _reference() -> Reference:
    return packaged_reference()
