"""What other models taught about latency surfaces: typical curves, how they vary, how much a label can be trusted.

Pure: made and read by the fitter from a packaged file, passed in as a value. Knows no model that is to be predicted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from .cells import CORE_SIZE, WORK_SIZE
from .statics import NO_STATICS, StaticModel
from .trees import NO_TREES, Trees

Floats = NDArray[np.float64]

_FAR_BELOW = 8.0
"""In logarithms."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scales:
    """Standard deviations and lengths, all in natural logarithms: how surfaces vary around the typical curves."""

    sharpness: float = 27.3
    """Exponent of the mean that stands for the maximum of work and launch time."""
    work_noise: float = 0.008
    launch_noise: float = 0.016
    noise_freedom: float = 20.0
    """Degrees of freedom of the noise: few, since single cells are far off."""
    work_smooth: float = 0.0822
    work_batch_length: float = 0.156
    work_sm_length: float = 0.798
    work_rough: float = 0.0195
    """Steps at whole waves of thread blocks."""
    work_run: float = 0.0033
    """Each SM share was measured by a process of its own."""
    launch_smooth: float = 1.2
    launch_length: float = 8.0
    run: float = 0.0011
    run_quota: float = 0.0065
    quota_length: float = 4.0
    batch_quota: float = 0.0802
    run_batch: float = 0.0111
    local: float = 0.0672
    local_sm_length: float = 0.339
    local_quota_length: float = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class IntervalFactors:
    """How many standard deviations hold 90 % of the errors, by the number of measured cells (split conformal)."""

    cells: tuple[int, ...] = (0,)
    factors: tuple[float, ...] = (1.645,)

    def factor(self, cells: int) -> float:
        """Between the counts that were calibrated, along the logarithm."""
        at = np.log1p(np.array(self.cells, dtype=np.float64))
        return float(np.interp(np.log1p(cells), at, np.array(self.factors)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """Typical log seconds of a model's core, and the directions in which models differ from it."""

    mean: Floats
    """(CORE_SIZE,)"""
    directions: Floats
    """(CORE_SIZE, r), orthonormal."""
    variances: Floats
    """(r,) along the directions."""
    scales: Scales = field(default_factory=Scales)
    statics: StaticModel = NO_STATICS
    correction: Trees = NO_TREES
    intervals: IntervalFactors = IntervalFactors()
    models: tuple[str, ...] = ()
    """Whose cells it was trained on: those are no test of it."""

    def __post_init__(self) -> None:
        if self.mean.shape != (CORE_SIZE,) or self.directions.shape != (CORE_SIZE, len(self.variances)):
            raise ValueError(f"a reference has {CORE_SIZE} nodes, was: {self.mean.shape}, {self.directions.shape}")

    def given(self, features: Mapping[str, float] | None) -> Reference:
        """The same with what a model's static features say about its core."""
        if not features or not self.statics.names:
            return self
        scores, kept = self.statics.scores(features)
        return replace(
            self,
            mean=self.mean + self.directions @ (scores * np.sqrt(self.variances)),
            variances=self.variances * kept,
        )

    def of_work_alone(self) -> Reference:
        """The same where cells show work and nothing else: the host's launch time is put below all of it."""
        mean, directions = self.mean.copy(), self.directions.copy()
        mean[WORK_SIZE:] -= _FAR_BELOW
        directions[WORK_SIZE:] = 0.0
        return replace(self, mean=mean, directions=directions)

    @property
    def loadings(self) -> Floats:
        """(CORE_SIZE, r): directions times standard deviations."""
        return self.directions * np.sqrt(self.variances)


def core_of(log_work: Floats, log_launch: Floats) -> Floats:
    """One vector of both curves."""
    result: Floats = np.concatenate([log_work.ravel(), log_launch])
    return result


def first_guess(work_corner: float, launch: Floats) -> Reference:
    """A reference before any curve is known: work as batch^0.8 / SM^0.75 from its corner, wide in every direction."""
    from .cells import GRID_BATCHES, GRID_QUOTAS, GRID_SMS

    batch, sm = (a.ravel() for a in np.meshgrid(np.log(GRID_BATCHES), np.log(GRID_SMS), indexing="ij"))
    work = work_corner + 0.8 * (batch - batch[-1]) - 0.75 * (sm - sm[0])
    top = sm - sm[-1]
    level, slope = 1.5**2 + 0.1**2 * np.outer(top * batch, top * batch), 0.35**2
    bend = 0.15**2 * np.exp(-0.5 * ((batch[:, None] - batch) ** 2 + ((sm[:, None] - sm) / 0.7) ** 2))
    quota = np.log(GRID_QUOTAS)
    covariance = np.zeros((CORE_SIZE, CORE_SIZE))
    covariance[:WORK_SIZE, :WORK_SIZE] = level + slope * (np.outer(top, top) + np.outer(batch, batch)) + bend
    covariance[WORK_SIZE:, WORK_SIZE:] = 0.6**2 + 0.4**2 * np.exp(-np.abs(quota[:, None] - quota))
    variances, directions = np.linalg.eigh(covariance)
    kept = variances > 1e-9
    return Reference(mean=core_of(work, launch), directions=directions[:, kept], variances=variances[kept])


def scales_as_numbers(scales: Scales) -> dict[str, float]:
    """By name, for the packaged file."""
    return asdict(scales)
