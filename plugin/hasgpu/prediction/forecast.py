"""The load a revision should be ready for: a local level on the square root of the rate. Pure arithmetic.

The root of a Poisson count has the variance 1/4 whatever the rate, so one filter fits one request a second and a
thousand. The level drifts by a noise that is learnt from its own surprises. A rise that noise cannot explain is taken
over at once, a fall only in part: being late with a rise costs the SLO, being late with a fall costs a few seconds of
GPU.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

_ROOT_VARIANCE = 0.25
"""Variance of the root of a Poisson count over one second."""
_ANSCOMBE = 0.375
_LEAST_DRIFT = 0.002
_MOST_DRIFT = 4.0
_DRIFT_MEMORY_S = 60.0
_SURPRISE = 4.0
"""Squared deviations, in expected ones, above which the level is taken to have jumped."""
_FALL_TRUST = 0.3
"""Part of a surprising fall that is believed at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalLevel:
    """What is known of a rate: mean and variance of its root, and how fast it drifts."""

    root: float
    variance: float
    drift_per_s: float
    at_s: float

    @property
    def requests_per_s(self) -> float:
        """The most likely rate."""
        return _rate(self.root)

    def quantile(self, now: float, horizon_s: float, deviations: float) -> float:
        """Requests/s that ``horizon_s`` from now are exceeded only beyond so many standard deviations."""
        ahead_s = max(now - self.at_s, 0.0) + horizon_s
        return _rate(self.root + deviations * math.sqrt(self.variance + self.drift_per_s * ahead_s))

    def observed(self, requests: float, exposure_s: float, now: float, reporters: int = 1) -> LocalLevel:
        """The level after ``requests`` in ``exposure_s`` seconds up to ``now``.

        Each of several reporters tells its own part and the caller their sum, once for each report; a sum of which
        only a part is new weighs as one of ``reporters``.
        """
        elapsed_s = max(now - self.at_s, 0.0)
        seen = _root(requests / exposure_s)
        noise = _ROOT_VARIANCE / exposure_s * reporters
        before = self.variance + self.drift_per_s * elapsed_s
        surprise = seen - self.root
        expected = before + noise
        excess = surprise**2 - _SURPRISE * expected
        if excess > 0.0:
            before += excess if surprise > 0.0 else _FALL_TRUST * excess
        gain = before / (before + noise)
        return LocalLevel(
            root=max(0.0, self.root + gain * surprise),
            variance=(1.0 - gain) * before,
            drift_per_s=self._learnt_drift(surprise**2 - expected, elapsed_s),
            at_s=max(now, self.at_s),
        )

    def _learnt_drift(self, unexplained: float, elapsed_s: float) -> float:
        part = 1.0 - math.exp(-elapsed_s / _DRIFT_MEMORY_S)
        drift = self.drift_per_s + part * min(unexplained, _SURPRISE)
        # Surprises are as often too small as too large; only the lasting part may move the drift.
        return min(max(drift, _LEAST_DRIFT), _MOST_DRIFT)


def first_level(requests: float, exposure_s: float, now: float) -> LocalLevel:
    """The level after the first report: as sure as one report is."""
    return LocalLevel(
        root=_root(requests / exposure_s), variance=_ROOT_VARIANCE / exposure_s, drift_per_s=0.01, at_s=now
    )


def _root(requests_per_s: float) -> float:
    """Anscombe's root: its variance is nearly constant down to a request every few seconds."""
    return math.sqrt(requests_per_s + _ANSCOMBE)


def _rate(root: float) -> float:
    """The inverse, so that no request at all is a rate of zero."""
    return max(0.0, root**2 - _ANSCOMBE) if root > 0.0 else 0.0
