"""Quantiles of the load of all functions at once: two local levels a function, mixed by how well each has done lately.

Levels are means of the root of the rate, where Poisson noise has the same variance whatever the rate. The quick level
learns its drift from its own surprises; the slow one hardly moves, which is right for a load that only fluctuates.
The quantile is calibrated online: what was told is compared with what came. Pure arithmetic on arrays.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Reals = NDArray[np.float32]

_ANSCOMBE = np.float32(0.375)
_NOISE = np.float32(0.25)
"""Variance of the root of a Poisson count over one second."""
_LEARNING = np.array([[0.03], [0.0]], dtype=np.float32)
"""How fast each level learns its drift."""
_SURPRISE = np.float32(25.0)
"""Squared deviations, in expected ones, beyond which one second teaches no more drift."""
_LEAST_DRIFT = np.float32(1e-5)
_FIRST_DRIFT = np.array([[0.01], [2e-4]], dtype=np.float32)
_CALIBRATION = np.float32(0.02)
_FORGET = np.float32(0.98)
_PREFER = np.float32(20.0)
"""How strongly the level with the lesser loss is preferred."""
_LEAST_RATE = np.float32(0.2)
_MEAN_AGE = np.float32(2.2)
"""Drift of the mean over the five seconds to come, in one-second steps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantileLoads:
    """One column a function; two rows, the quick and the slow level."""

    quantile: float
    span_s: float
    """Length of the slots whose rate is told."""
    root: Reals
    variance: Reals
    drift: Reals
    multiple: Reals
    """Standard deviations above the level at which each level's quantile lies."""
    loss: Reals
    shift: Reals
    """(functions,) what the mixture still lacks, in Poisson deviations."""

    @classmethod
    def starting(cls, requests_per_s: Reals, *, span_s: float, quantile: float) -> QuantileLoads:
        """Knows one second of each function."""
        shape = (2, len(requests_per_s))
        ones = np.ones(shape, dtype=np.float32)
        return cls(
            quantile=quantile,
            span_s=span_s,
            root=np.sqrt(requests_per_s.astype(np.float32) + _ANSCOMBE) * ones,
            variance=_NOISE * ones,
            drift=_FIRST_DRIFT * ones,
            multiple=np.float32(1.7) * ones,
            loss=np.zeros(shape, dtype=np.float32),
            shift=np.zeros(shape[1], dtype=np.float32),
        )

    def observed(self, requests: Reals) -> QuantileLoads:
        """After one more second, in which so many requests came to each function."""
        before = self.variance + self.drift
        expected = before + _NOISE
        gain = before / expected
        surprise = np.sqrt(requests.astype(np.float32) + _ANSCOMBE) - self.root
        unexplained = np.minimum(surprise * surprise, _SURPRISE * expected) - expected
        return replace(
            self,
            root=self.root + gain * surprise,
            variance=gain * _NOISE,
            drift=np.maximum(self.drift + _LEARNING * gain * unexplained, _LEAST_DRIFT),
        )

    def upper_requests_per_s(self) -> Reals:
        """(functions,) the quantile of the rate over the next slot."""
        return self._mixed(self._uppers())

    def scored(self, requests_per_s: Reals) -> QuantileLoads:
        """After the slot that ``upper_requests_per_s`` told of: calibrates; call before that slot is observed."""
        uppers = self._uppers()
        told = self._mixed(uppers)
        came = requests_per_s.astype(np.float32)
        allowed = np.float32(1.0 - self.quantile)
        short = came - uppers
        loss = np.maximum(np.float32(self.quantile) * short, -allowed * short)
        return replace(
            self,
            multiple=self.multiple + _CALIBRATION * ((short > 0.0) - allowed),
            loss=_FORGET * self.loss + (np.float32(1.0) - _FORGET) * loss,
            shift=self.shift + _CALIBRATION * ((came > told) - allowed),
        )

    def _uppers(self) -> Reals:
        spread = np.sqrt(self.variance + _MEAN_AGE * self.drift + _NOISE / np.float32(self.span_s))
        edge = np.maximum(self.root + self.multiple * spread, np.float32(0.0))
        result: Reals = np.maximum(edge * edge - _ANSCOMBE, _LEAST_RATE)
        return result

    def _mixed(self, uppers: Reals) -> Reals:
        quick, slow = self.loss
        worse = (slow - quick) / np.maximum(np.minimum(quick, slow), np.float32(1e-9))
        share = np.float32(1.0) / (np.float32(1.0) + np.exp(np.clip(-_PREFER * worse, -60.0, 60.0)))
        mixed = share * uppers[0] + (np.float32(1.0) - share) * uppers[1]
        result: Reals = mixed + self.shift * np.sqrt(mixed / np.float32(self.span_s))
        return result
