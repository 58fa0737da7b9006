"""Quantiles of the load of all functions at once: two local levels a function, mixed by how well each has done lately.

Levels are means of the root of the rate, where Poisson noise has the same variance whatever the rate. The quick level
learns its drift from its own surprises and takes over at once a rise that noise cannot explain, a fall only in part.
The slow level hardly moves, which is right for a load that only fluctuates. What was told of a time to come is
compared with what came, and calibrated by that. Pure arithmetic on arrays; the last axis is the function.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from statistics import NormalDist
from typing import Self

import numpy as np
from numpy.typing import NDArray

Reals = NDArray[np.float32]
Columns = NDArray[np.intp] | slice
"""Some of the functions; a slice is all of them, without a copy."""

LEAST_RATE = np.float32(0.2)
"""Requests/s below which no quantile is told: less can't be learnt from a few seconds."""

_ANSCOMBE = np.float32(0.375)
_NOISE = np.float32(0.25)
"""Variance of the root of a Poisson count over one second."""
_FIRST_DRIFT = np.array([[0.01], [2e-4]], dtype=np.float32)
_LEARNING = np.float32(0.03)
"""How fast the quick level learns its drift."""
_OUTLIER = np.float32(25.0)
"""Squared deviations, in expected ones, beyond which one report teaches no more drift."""
_JUMP = np.float32(9.0)
"""The same, beyond which the quick level is taken to have jumped."""
_ALERT = np.float32(4.0)
"""The same, beyond which a rise is prepared for, though not yet believed."""
_FALL_TRUST = np.float32(0.3)
"""Part of a surprising fall that is believed at once."""
_LEAST_DRIFT = np.float32(1e-5)
_CALIBRATION, _LAST_CALIBRATION = np.float32(0.04), np.float32(0.02)
"""Of each level's quantile, and of their mixture's: steps in deviations."""
_FORGET = np.float32(0.02)
_PREFER = np.float32(20.0)
"""How strongly the level with the lesser loss is preferred."""
_IDLE = np.float32(3.0)
"""Requests in a slot, of which the quantile says no more about a function that is idle."""
_ZERO, _HALF, _ONE, _SIX, _MOST_EXPONENT = (np.float32(each) for each in (0.0, 0.5, 1.0, 6.0, 60.0))
_TINY = np.float32(1e-9)


class _Arrays:
    """Arrays that share their last axis, the functions."""

    __slots__ = ()

    def of(self, columns: Columns) -> Self:
        """Some functions' part."""
        return self._made({name: array[..., columns] for name, array in self._arrays()})

    def put(self, columns: Columns, part: Self) -> Self:
        """With some functions' part: written into these arrays, but where it is the whole."""
        if isinstance(columns, slice):
            return part
        for name, array in self._arrays():
            array[..., columns] = getattr(part, name)
        return self

    def joined(self, other: Self) -> Self:
        """These functions and then others."""
        return self._made({name: np.concatenate((each, getattr(other, name)), -1) for name, each in self._arrays()})

    def _arrays(self) -> list[tuple[str, Reals]]:
        return [(each.name, getattr(self, each.name)) for each in fields(self)]  # type: ignore[arg-type]

    def _made(self, arrays: dict[str, Reals]) -> Self:
        return type(self)(**arrays)


@dataclass(frozen=True, slots=True, kw_only=True)
class Levels(_Arrays):
    """(2, functions) each: the quick level and the slow one, of the root of the rate in requests/s."""

    root: Reals
    variance: Reals
    drift: Reals
    """Variance that a second adds."""
    alert: Reals
    """(functions,) the quick level's root, where the last report is a rise that may be chance and may be not."""

    @classmethod
    def first(cls, requests_per_s: Reals) -> Levels:
        """As sure as one second is."""
        root = _root(requests_per_s)
        ones = np.ones((2, len(root)), dtype=np.float32)
        return cls(root=root * ones, variance=_NOISE * ones, drift=_FIRST_DRIFT * ones, alert=root)

    def observed(self, requests_per_s: Reals, exposure_s: Reals, elapsed_s: Reals) -> Levels:
        """After a rate was seen over so many seconds (none: nothing was), so long after what was seen before."""
        noise: Reals = np.divide(_NOISE, np.maximum(exposure_s, _TINY))
        before = self.variance + self.drift * elapsed_s
        expected = before + noise
        surprise = _root(requests_per_s) - self.root
        square = surprise[0] * surprise[0]
        unexplained = np.minimum(square / expected[0], _OUTLIER) - _ONE
        drift = self.drift.copy()
        drift[0] = np.maximum(drift[0] + _LEARNING * exposure_s * before[0] * unexplained, _LEAST_DRIFT)
        alert = before[0] + np.maximum(square - _ALERT * expected[0], _ZERO)
        alert = self.root[0] + alert / (alert + noise) * surprise[0]
        jump = np.maximum(square - _JUMP * expected[0], _ZERO)
        rises = _HALF * (_ONE + _FALL_TRUST) + np.copysign(_HALF * (_ONE - _FALL_TRUST), surprise[0])
        before[0] += jump * rises
        gain: Reals = np.divide(before, before + noise)
        variance: Reals = before - gain * before
        root = self.root + gain * surprise
        return Levels(root=root, variance=variance, drift=drift, alert=np.maximum(root[0], alert))


@dataclass(frozen=True, slots=True, kw_only=True)
class Slots(_Arrays):
    """One horizon: what is told of the mean rate over the next slot, and what slots before have taught."""

    quantile: Reals
    """(functions,) of the mean rate."""
    span_s: Reals
    """(functions,) length of a slot."""
    multiple: Reals
    """(2, functions) standard deviations above the level at which each level's quantile lies."""
    loss: Reals
    """(2, functions) of each level lately, in requests/s."""
    shift: Reals
    """(functions,) what the mixture still lacks, in Poisson deviations."""
    uppers: Reals
    """(2, functions) told by each level of the slot that runs."""
    told: Reals
    """(functions,) told by their mixture; negative: no slot has begun."""
    requests: Reals
    """(functions,) in the slot that runs."""
    exposure_s: Reals
    """(functions,) seen of it."""

    @classmethod
    def first(cls, functions: int, *, span_s: float, quantile: float) -> Slots:
        """Nothing is learnt yet."""

        def filled(value: float, *rows: int) -> Reals:
            return np.full((*rows, functions), value, dtype=np.float32)

        return cls(
            quantile=filled(quantile),
            span_s=filled(span_s),
            multiple=filled(NormalDist().inv_cdf(quantile), 2),
            loss=filled(0.0, 2),
            shift=filled(0.0),
            uppers=filled(0.0, 2),
            told=filled(-1.0),
            requests=filled(0.0),
            exposure_s=filled(0.0),
        )

    def upper(self, levels: Levels) -> Reals:
        """(functions,) requests/s that the mean rate over a slot that begins now stays below, at the quantile."""
        return self._mixed(self._uppers(levels))

    def cautious(self, levels: Levels) -> Reals:
        """The same where being short is dear: up at the first sign with the quick level, down with the slow."""
        uppers = self._uppers(levels)
        alert = _rate(levels.alert + self.multiple[0] * self._spread(levels)[0])
        result: Reals = np.maximum(np.maximum(self._mixed(uppers), alert), np.maximum(uppers[0], uppers[1]))
        return result

    def counted(self, requests: Reals, exposure_s: Reals) -> Slots:
        """After so many requests more."""
        return replace(self, requests=self.requests + requests, exposure_s=self.exposure_s + exposure_s)

    @property
    def ended(self) -> NDArray[np.bool_]:
        """(functions,) whose slot is over, or has never begun."""
        return (self.exposure_s > self.span_s - np.float32(0.01)) | (self.told < _ZERO)

    def begun(self, levels: Levels) -> Slots:
        """The slots that ended have taught, and the next ones begin."""
        scored = self._scored()
        uppers, none = scored._uppers(levels), np.zeros_like(self.requests)
        return replace(scored, uppers=uppers, told=scored._mixed(uppers), requests=none, exposure_s=none)

    def _scored(self) -> Slots:
        """Of silence where hardly anything was told nothing is learnt."""
        came = self.requests / np.maximum(self.exposure_s, _TINY)
        allowed = _ONE - self.quantile
        live = ((came > _ZERO) | (self.told * self.span_s > _IDLE)) & (self.told >= _ZERO)
        step, last_step, forget = _CALIBRATION * live, _LAST_CALIBRATION * live, _FORGET * live
        short = came - self.uppers
        loss: Reals = np.maximum(self.quantile * short, -allowed * short)
        loss = self.loss + forget * (loss - self.loss)
        return replace(
            self,
            multiple=self.multiple + step * ((short > _ZERO) - allowed),
            loss=loss,
            shift=self.shift + last_step * ((came > self.told) - allowed),
        )

    def _uppers(self, levels: Levels) -> Reals:
        """(2, functions) by each level."""
        return _rate(levels.root + self.multiple * self._spread(levels))

    def _spread(self, levels: Levels) -> Reals:
        """(2, functions) standard deviation of the root of what will be seen, about each level."""
        span = self.span_s
        # Variance of the mean of a random walk over the slot, in steps: 2.2 for five.
        steps = (span + _ONE) * (span + span + _ONE) / (_SIX * span)
        result: Reals = np.sqrt(levels.variance + steps * levels.drift + _NOISE / span)
        return result

    def _mixed(self, uppers: Reals) -> Reals:
        """(functions,) nearly that of the better level alone, where it did much better."""
        quick, slow = self.loss
        worse = _PREFER * (quick - slow) / np.maximum(np.minimum(quick, slow), _TINY)
        share = _ONE / (_ONE + np.exp(np.minimum(worse, _MOST_EXPONENT)))
        mixed = uppers[1] + share * (uppers[0] - uppers[1])
        result: Reals = np.maximum(mixed + self.shift * np.sqrt(mixed / self.span_s), LEAST_RATE)
        return result


def _root(requests_per_s: Reals) -> Reals:
    """Anscombe's root: its variance is nearly constant down to a request every few seconds."""
    result: Reals = np.sqrt(requests_per_s + _ANSCOMBE)
    return result


def _rate(root: Reals) -> Reals:
    """The inverse, in requests/s."""
    root = np.maximum(root, _ZERO)
    result: Reals = np.maximum(root * root - _ANSCOMBE, LEAST_RATE)
    return result
