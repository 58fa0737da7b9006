"""What a learned residual adds to the Gaussian field: its features, and how far it is trusted. Pure arithmetic.

Across families the residual of a dense profile is that model's own affair: what trees learnt from others then makes
predictions worse (docs/rapp.md has the figures). So the correction fades out between FULL and NONE measured cells.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from .cells import Points, product_of
from .field import Estimate, Field

Floats = NDArray[np.float64]

FULL_CELLS = 3
NO_CELLS = 12


def correction_share(cells: int) -> float:
    """1 up to FULL_CELLS measured cells, 0 from NO_CELLS on, straight in the logarithm between."""
    if cells <= FULL_CELLS:
        return 1.0
    return max(0.0, 1.0 - math.log(cells / FULL_CELLS) / math.log(NO_CELLS / FULL_CELLS))


def correction_features(field: Field, at: Points, estimate: Estimate) -> Floats:
    """One row for each point; nothing in it depends on the absolute speed of the GPU."""
    floor = float(field.estimate(product_of((1,), (100,), (100,))).latency[0])
    return np.column_stack(
        [
            np.clip(estimate.work - estimate.launch, -3.0, 3.0),
            estimate.work - floor,
            estimate.launch - floor,
            np.log(at.batch),
            np.log(at.sm),
            np.log(at.quota),
            estimate.deviation,
            np.full(len(at), math.log1p(len(field.measured))),
        ]
    )


def corrected(field: Field, at: Points) -> Estimate:
    """The estimate with the reference's trees applied as far as they are trusted."""
    estimate = field.estimate(at)
    share = correction_share(len(field.measured))
    trees = field.reference.correction
    if share == 0.0 or not len(trees.roots):
        return estimate
    shift = share * trees.predict(correction_features(field, at, estimate))
    return Estimate(
        work=estimate.work + shift,
        launch=estimate.launch + shift,
        latency=estimate.latency + shift,
        deviation=estimate.deviation,
    )
