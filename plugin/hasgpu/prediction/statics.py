"""What operator counts say about a model before a single cell is measured: Gaussian regression on known models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

STATIC_FEATURES: tuple[str, ...] = (
    "gmac",
    "n_conv2d",
    "n_dense",
    "n_relu",
    "n_nodes",
    "conv_weights_m",
    "dense_weights_m",
    "n_grouped_conv",
)
"""In the order of the arrays below; all enter as log(1 + x)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StaticModel:
    """For each direction in which models differ, a regression of the score on static features."""

    names: tuple[str, ...]
    center: Floats
    scale: Floats
    known: Floats
    """(models, features), standardised."""
    length: float
    """How far, in standardised features, two models still resemble each other."""
    weights: Floats
    """(models, r)"""
    unexplained: Floats
    """(r,) part of the variance that features leave open near known models."""

    def scores(self, features: Mapping[str, float]) -> tuple[Floats, Floats]:
        """Scores along the directions in standard deviations, and the part of each variance left open."""
        missing = [name for name in self.names if name not in features]
        if missing:
            raise ValueError(f"static features lack: {', '.join(missing)}")
        row = standardised(np.array([[features[name] for name in self.names]]), self.center, self.scale)
        likeness = resemblance(row, self.known, self.length)[0]
        near = float(likeness.max())
        kept: Floats = self.unexplained * near + (1.0 - near)
        return likeness @ self.weights, kept


NO_STATICS = StaticModel(
    names=(),
    center=np.zeros(0),
    scale=np.zeros(0),
    known=np.zeros((0, 0)),
    length=1.0,
    weights=np.zeros((0, 0)),
    unexplained=np.zeros(0),
)
"""Says nothing."""


def standardised(features: Floats, center: Floats, scale: Floats) -> Floats:
    """Logarithms with mean 0 and deviation 1 over the known models."""
    result: Floats = (np.log1p(features) - center) / scale
    return result


def resemblance(one: Floats, other: Floats, length: float) -> Floats:
    """1 for equal features, falling to 0 with their distance."""
    distance = ((one[:, None, :] - other[None, :, :]) ** 2).sum(axis=-1)
    result: Floats = np.exp(-0.5 * distance / length**2)
    return result
