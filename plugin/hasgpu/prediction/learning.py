"""Learning while serving: how far measured work is from the surface, in level and in shape over SM. Pure arithmetic.

Each SM share keeps a mean of log(measured / predicted) whose weight fades with time. What to believe at any share is
the Gaussian posterior: a common level, and deviations that neighbouring shares have in common. Bounded, so that no
measurement, however wrong, moves a prediction more than BOUND; and an overloaded pod teaches nothing, since what it
shows is its queue.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from .surface import Surface

Floats = NDArray[np.float64]

HALF_LIFE_S = 600.0
BOUND = math.log(3.0)
MOST_SHARES = 32
_LEVEL = 0.5
"""Standard deviation of the level of a profile taken elsewhere, in logarithms."""
_SHAPE = 0.3
_SHAPE_LENGTH = 1.5
"""In logarithms of SM percent."""
_NOISE = 0.3
"""Of one request."""
_MOST_WEIGHT = 1000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedShare:
    """What one SM share has shown."""

    sm_percent: int
    log_ratio: float
    weight: float
    at_s: float

    def faded(self, now: float) -> ServedShare:
        """Half as heavy after each HALF_LIFE_S."""
        part = 0.5 ** (max(now - self.at_s, 0.0) / HALF_LIFE_S)
        return ServedShare(
            sm_percent=self.sm_percent, log_ratio=self.log_ratio, weight=self.weight * part, at_s=max(now, self.at_s)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedWork:
    """What a revision's own traffic says about its surface."""

    shares: tuple[ServedShare, ...] = ()

    def observed(
        self, sm_percent: int, measured_s: float, predicted_s: float, requests: float, now: float, *, overloaded: bool
    ) -> ServedWork:
        """After so many requests took ``measured_s`` of GPU time each where ``predicted_s`` was expected."""
        if overloaded or requests <= 0.0 or measured_s <= 0.0 or predicted_s <= 0.0:
            return self
        ratio = min(max(math.log(measured_s / predicted_s), -BOUND), BOUND)
        others = [share for share in self.shares if share.sm_percent != sm_percent]
        own = next((share.faded(now) for share in self.shares if share.sm_percent == sm_percent), None)
        before = own.weight if own else 0.0
        mean = ((own.log_ratio if own else 0.0) * before + ratio * requests) / (before + requests)
        learnt = ServedShare(
            sm_percent=sm_percent, log_ratio=mean, weight=min(before + requests, _MOST_WEIGHT), at_s=now
        )
        heaviest = sorted([*others, learnt], key=lambda share: share.faded(now).weight, reverse=True)[:MOST_SHARES]
        return ServedWork(shares=tuple(sorted(heaviest, key=lambda share: share.sm_percent)))

    def factor(self, sm_percent: int, now: float) -> float:
        """What predicted work at an SM share must be multiplied with; 1 where nothing was learnt."""
        known = [share for share in (each.faded(now) for each in self.shares) if share.weight > 1e-3]
        if not known:
            return 1.0
        at = np.log([share.sm_percent for share in known])
        ratios = np.array([share.log_ratio for share in known])
        noise = np.diag([_NOISE**2 / share.weight for share in known])
        toward = _covariance(np.log([sm_percent]), at)[0]
        expected = float(toward @ np.linalg.solve(_covariance(at, at) + noise, ratios))
        return math.exp(min(max(expected, -BOUND), BOUND))


def healed(surface: Surface, served: ServedWork, now: float) -> Surface:
    """The surface as traffic corrects it, at every SM share that it has a value for."""
    if not served.shares:
        return surface
    lines = tuple(
        replace(
            line,
            log_seconds=tuple(
                value + math.log(served.factor(max(1, round(math.exp(at))), now))
                for at, value in zip(line.at, line.log_seconds, strict=True)
            ),
        )
        for line in surface.over_sm
    )
    return replace(surface, over_sm=lines)


def _covariance(one: Floats, other: Floats) -> Floats:
    distance = np.abs(one[:, None] - other[None, :])
    result: Floats = _LEVEL**2 + _SHAPE**2 * np.exp(-distance / _SHAPE_LENGTH)
    return result
