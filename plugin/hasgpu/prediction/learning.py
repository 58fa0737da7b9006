"""Learning while serving: GPU time of requests as own traffic showed it, what follows for a surface. Pure arithmetic.

Each SM share keeps means, whose weight fades with time, of two logarithms: GPU time, the least that a request takes of
its pod's slots, and what follows from its latency, the most. Between them lies what the host leaves idle, of which a
surface may know more than traffic shows: so a prediction is corrected only as far as it lies outside. What to believe
at any share is the Gaussian posterior of that: a common level, and deviations that neighbouring shares have in common.
Bounded, so that no measurement, however wrong, moves a prediction more than BOUND; and an overloaded pod teaches
nothing, since what it shows is its queue.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hasgpu.model.profile import Cell

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
_IDLE = math.log(1.5)
_BELOW, _ABOVE = 0.5, 0.05
_MOST_WEIGHT = 1000.0
_LEAST_WEIGHT = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedShare:
    """What one SM share has shown."""

    sm_percent: int
    log_work: float
    """Logarithm of the GPU seconds of one request."""
    log_most: float | None = None
    """The same of what its latency allows for; None where no latency was seen."""
    weight: float
    """Requests, as far as they are not forgotten."""
    at_s: float

    def faded(self, now: float) -> ServedShare:
        """Half as heavy after each HALF_LIFE_S."""
        part = 0.5 ** (max(now - self.at_s, 0.0) / HALF_LIFE_S)
        return replace(self, weight=self.weight * part, at_s=max(now, self.at_s))

    @property
    def log_slot(self) -> float:
        """What to believe without any prediction: GPU time, but for hosts that plainly leave the GPU idle."""
        idle = self.log_most is not None and self.log_most - self.log_work > _IDLE
        return self.log_most if self.log_most is not None and idle else self.log_work

    def ratio(self, log_predicted: float) -> float:
        """How far a prediction lies outside of what was shown."""
        below = max(self.log_work - log_predicted, 0.0)
        above = min(self.log_most - log_predicted, 0.0) if self.log_most is not None else 0.0
        return min(max(below or above, -BOUND), BOUND)

    def joined(self, work_s: float, most_s: float | None, requests: float, now: float) -> ServedShare:
        """After so many more requests."""
        old = self.faded(now)
        part = requests / (old.weight + requests)
        most = self.log_most
        if most_s is not None:
            shown = math.log(max(most_s, work_s))
            # A bound: whenever requests took less, less is the most; that some took more proves little.
            most = shown if most is None else most + (_BELOW if shown < most else _ABOVE) * (shown - most)
        return ServedShare(
            sm_percent=self.sm_percent,
            log_work=old.log_work + part * (math.log(work_s) - old.log_work),
            log_most=most,
            weight=min(old.weight + requests, _MOST_WEIGHT),
            at_s=now,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedWork:
    """What a model's own traffic on one GPU product says about its surface."""

    shares: tuple[ServedShare, ...] = ()

    def observed(
        self,
        sm_percent: int,
        work_s: float,
        requests: float,
        now: float,
        *,
        most_s: float | None = None,
        overloaded: bool = False,
    ) -> ServedWork:
        """After so many requests took ``work_s`` of GPU time each at an SM share, and at most ``most_s`` of slots."""
        if overloaded or requests <= 0.0 or work_s <= 0.0:
            return self
        others = [share for share in self.shares if share.sm_percent != sm_percent]
        fresh = ServedShare(sm_percent=sm_percent, log_work=math.log(work_s), weight=0.0, at_s=now)
        own = next((share for share in self.shares if share.sm_percent == sm_percent), fresh)
        learnt = own.joined(work_s, most_s, requests, now)
        heaviest = sorted([*others, learnt], key=lambda share: share.faded(now).weight, reverse=True)[:MOST_SHARES]
        return ServedWork(shares=tuple(sorted(heaviest, key=lambda share: share.sm_percent)))

    def cells(self) -> tuple[Cell, ...]:
        """As if somebody had measured it: all that is known of a model without a profile, however long ago."""
        return tuple(
            Cell(batch=1, sm_percent=share.sm_percent, quota_percent=100, latency_ms=1000.0 * math.exp(share.log_slot))
            for share in self.shares
        )

    def log_factors(self, surface: Surface, sm_percents: Sequence[float], now: float) -> Floats:
        """Logarithm of what predicted work must be multiplied with at SM shares; 0 where nothing was learnt."""
        known = [share for share in (each.faded(now) for each in self.shares) if share.weight > _LEAST_WEIGHT]
        if not known:
            return np.zeros(len(sm_percents))
        at = np.log([share.sm_percent for share in known])
        ratios = np.array([share.ratio(math.log(surface.work_s(1, share.sm_percent))) for share in known])
        noise = np.diag([_NOISE**2 / share.weight for share in known])
        toward = _covariance(np.log(np.asarray(sm_percents, dtype=np.float64)), at)
        result: Floats = np.clip(toward @ np.linalg.solve(_covariance(at, at) + noise, ratios), -BOUND, BOUND)
        return result


def healed(surface: Surface, served: ServedWork, now: float) -> Surface:
    """The surface as traffic corrects it: known there too where it was measured coarsely."""
    if not served.shares:
        return surface
    shares = tuple(share.sm_percent for share in served.shares)
    knots = sorted({*(math.exp(at) for line in surface.over_sm for at in line.at), *(float(sm) for sm in shares)})
    shift = dict(zip(knots, served.log_factors(surface, knots, now), strict=True))
    lines = []
    for line in surface.over_sm:
        logs = [math.log(line.seconds(knot)) + float(shift[knot]) for knot in knots]
        lines.append(replace(line, at=tuple(math.log(knot) for knot in knots), log_seconds=tuple(logs)))
    return replace(surface, over_sm=tuple(lines))


def to_plain(served: ServedWork) -> list[dict[str, float]]:
    """As it is kept in an object's status."""
    return [
        {
            "sm": share.sm_percent,
            "workMs": float(f"{1000.0 * math.exp(share.log_work):.5g}"),
            **({} if share.log_most is None else {"mostMs": float(f"{1000.0 * math.exp(share.log_most):.5g}")}),
            "requests": round(share.weight, 1),
            "at": round(share.at_s),
        }
        for share in served.shares
    ]


def from_plain(rows: object) -> ServedWork:
    """What was kept; ValueError names what makes no sense."""
    if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
        raise ValueError(f"served must be a list of shares, was: {rows!r}")
    return ServedWork(shares=tuple(_share(row) for row in rows[:MOST_SHARES]))


def _share(row: Mapping[str, Any]) -> ServedShare:
    values = [row.get(key) for key in ("sm", "workMs", "requests", "at")]
    if not all(isinstance(value, int | float) and 0.0 <= value < math.inf for value in values):
        raise ValueError(f"served has a share that makes no sense: {row!r}")
    sm, work_ms, weight, at_s = (float(row[key]) for key in ("sm", "workMs", "requests", "at"))
    if not 1.0 <= sm <= 100.0 or work_ms <= 0.0:
        raise ValueError(f"served has a share that makes no sense: {row!r}")
    most_ms = row.get("mostMs")
    most = math.log(most_ms / 1000.0) if isinstance(most_ms, int | float) and 0.0 < most_ms < math.inf else None
    return ServedShare(sm_percent=int(sm), log_work=math.log(work_ms / 1000.0), log_most=most, weight=weight, at_s=at_s)


def _covariance(one: Floats, other: Floats) -> Floats:
    distance = np.abs(one[:, None] - other[None, :])
    result: Floats = _LEVEL**2 + _SHAPE**2 * np.exp(-distance / _SHAPE_LENGTH)
    return result
