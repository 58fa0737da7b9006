"""Quantiles of the load of all functions at once: two local levels a function, mixed by how well each has done lately.

Levels are means of the root of the rate, where Poisson noise has the same variance whatever the rate. The quick level
learns its drift from its own surprises and takes over at once a rise that noise cannot explain, a fall only in part.
The slow level hardly moves, which is right for a load that only fluctuates. What was told of a time to come is
compared with what came, and calibrated by that. Pure arithmetic on arrays; the last axis is the function.

A pass over thousands costs what its arrays cost to touch: a quantity is a row of one array that changes in place, so
that some functions' part is taken and put back at once, and what only a slot's end changes is reckoned only there.
"""

from __future__ import annotations

from statistics import NormalDist
from typing import Self

import numpy as np
from numpy.typing import NDArray

Reals = NDArray[np.float32]
Columns = NDArray[np.intp] | slice
"""Some of the functions; a slice without a copy."""

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
_ZERO, _ONE, _SIX, _MOST_EXPONENT = (np.float32(each) for each in (0.0, 1.0, 6.0, 60.0))
_TINY = np.float32(1e-9)
_LEAST_ROOT = np.sqrt(LEAST_RATE + _ANSCOMBE)


class _Row:
    """One quantity of all functions: a view, to be changed in place."""

    def __init__(self, at: int | slice) -> None:
        self._at = at

    def __get__(self, table: _Table, owner: type) -> Reals:
        result: Reals = table.rows[self._at]
        return result


class _Table:
    """(quantities, functions)"""

    __slots__ = ("rows",)

    def __init__(self, rows: Reals) -> None:
        self.rows = rows

    def of(self, columns: Columns) -> Self:
        """Some functions' part: of a slice these very numbers, else a copy of them."""
        if isinstance(columns, slice):
            return type(self)(self.rows[:, columns])
        return type(self)(self.rows.take(columns, axis=1))

    def put(self, columns: Columns, part: Self) -> None:
        """What became of some functions' part."""
        if not isinstance(columns, slice):
            self.rows[:, columns] = part.rows

    def joined(self, other: Self) -> Self:
        """These functions and then others."""
        return type(self)(np.concatenate((self.rows, other.rows), axis=1))


class Levels(_Table):
    """The quick level and the slow one, of the root of the rate in requests/s."""

    __slots__ = ()

    root = _Row(slice(0, 2))
    """(2, functions)"""
    variance = _Row(slice(2, 4))
    """(2, functions)"""
    drift = _Row(slice(4, 6))
    """(2, functions) variance that a second adds."""
    alert = _Row(6)
    """(functions,) the quick level's root, where the last report is a rise that may be chance and may be not."""

    @classmethod
    def first(cls, requests_per_s: Reals) -> Levels:
        """As sure as one second is."""
        levels = cls(np.empty((7, len(requests_per_s)), dtype=np.float32))
        levels.root[:] = levels.alert[:] = _root(requests_per_s)
        levels.variance[:] = _NOISE
        levels.drift[:] = _FIRST_DRIFT
        return levels

    def observe(self, requests_per_s: Reals, exposure_s: Reals, elapsed_s: Reals) -> None:
        """A rate was seen over so many seconds, so long after what was seen before; over none: nothing was."""
        root, variance, drift, alert = self.root, self.variance, self.drift, self.alert
        unseen = np.flatnonzero(exposure_s <= _ZERO)
        stands = alert[unseen]
        noise: Reals = np.divide(_NOISE, exposure_s + _TINY)
        variance += drift * elapsed_s
        surprise = _root(requests_per_s) - root
        square, expected = surprise[0] * surprise[0], variance[0] + noise
        unexplained = np.minimum(square / expected, _OUTLIER) - _ONE
        drift[0] += _LEARNING * exposure_s * variance[0] * unexplained
        np.maximum(drift[0], _LEAST_DRIFT, out=drift[0])
        risen = variance[0] + np.maximum(square - _ALERT * expected, _ZERO)
        np.add(root[0], risen / (risen + noise) * surprise[0], out=alert)
        jump = np.maximum(square - _JUMP * expected, _ZERO)
        variance[0] += _FALL_TRUST * jump + (_ONE - _FALL_TRUST) * (surprise[0] > _ZERO) * jump
        gain: Reals = np.divide(variance, variance + noise)
        np.multiply(gain, noise, out=variance)
        root += gain * surprise
        np.maximum(alert, root[0], out=alert)
        alert[unseen] = stands


class Slots(_Table):
    """One horizon: what is told of the mean rate over the next slot, and what slots before have taught."""

    __slots__ = ()

    quantile = _Row(0)
    """(functions,) of the mean rate."""
    span_s = _Row(1)
    """(functions,) length of a slot; another holds from the next slot on."""
    multiple = _Row(slice(2, 4))
    """(2, functions) standard deviations above the level at which each level's quantile lies."""
    loss = _Row(slice(4, 6))
    """(2, functions) of each level lately, in requests/s."""
    shift = _Row(6)
    """(functions,) what the mixture still lacks, in Poisson deviations."""
    uppers = _Row(slice(7, 9))
    """(2, functions) told by each level of the slot that runs."""
    told = _Row(9)
    """(functions,) told by their mixture; negative: no slot has begun."""
    seen = _Row(slice(10, 12))
    """(2, functions) of the slot that runs: requests, and seconds that were seen of it."""
    steps = _Row(12)
    """(functions,) variance of the mean of a random walk over the slot, in the variance of one second's step."""
    chance = _Row(13)
    """(functions,) variance that Poisson noise leaves in the root of the slot's mean."""
    share = _Row(14)
    """(functions,) of the quick level in the mixture: nearly all or nothing, where one did much better."""
    lack = _Row(15)
    """(functions,) the shift, in roots of the rate."""

    @classmethod
    def first(cls, functions: int, *, span_s: float, quantile: float) -> Slots:
        """Nothing is learnt yet."""
        slots = cls(np.zeros((16, functions), dtype=np.float32))
        slots.quantile[:] = quantile
        slots.span_s[:] = span_s
        slots.multiple[:] = NormalDist().inv_cdf(quantile)
        slots.told[:] = -1.0
        slots._aim()
        return slots

    def upper(self, levels: Levels) -> Reals:
        """(functions,) requests/s that the mean rate over a slot that begins now stays below, at the quantile."""
        return self._mixed(_rate(levels.root + self._reach(levels)))

    def cautious(self, levels: Levels) -> Reals:
        """The same where being short is dear: up at the first sign with the quick level, down with the slow."""
        reach = self._reach(levels)
        uppers = _rate(levels.root + reach)
        # No less than the quick level's own: the alert is no less than its root.
        alert = _rate(levels.alert + reach[0])
        result: Reals = np.maximum(np.maximum(self._mixed(uppers), alert), uppers[1])
        return result

    def count(self, seen: Reals) -> None:
        """So many requests and seconds more."""
        running = self.seen
        running += seen

    @property
    def ended(self) -> NDArray[np.bool_]:
        """(functions,) whose slot is over, or has never begun."""
        result: NDArray[np.bool_] = (self.seen[1] > self.span_s - np.float32(0.01)) | (self.told < _ZERO)
        return result

    def begin(self, levels: Levels) -> None:
        """The slots that ended have taught, and the next ones begin."""
        self._learn()
        self._aim()
        self.uppers[:] = _rate(levels.root + self._reach(levels))
        self.told[:] = self._mixed(self.uppers)
        self.seen[:] = _ZERO

    def _learn(self) -> None:
        """Of silence where hardly anything was told nothing is learnt."""
        multiple, loss, shift = self.multiple, self.loss, self.shift
        requests, exposure_s = self.seen
        came = requests / (exposure_s + _TINY)
        allowed = _ONE - self.quantile
        idle = (came <= _ZERO) & (self.told * self.span_s <= _IDLE)
        live = np.logical_not(idle | (self.told < _ZERO)).astype(np.float32)
        short = came - self.uppers
        multiple += _CALIBRATION * live * ((short > _ZERO) - allowed)
        loss += _FORGET * live * (np.maximum(self.quantile * short, -allowed * short) - loss)
        shift += _LAST_CALIBRATION * live * ((came > self.told) - allowed)

    def _aim(self) -> None:
        """What holds until the next slot begins."""
        span, (quick, slow) = self.span_s, self.loss
        np.divide((span + _ONE) * (span + span + _ONE), _SIX * span, out=self.steps)
        np.divide(_NOISE, span, out=self.chance)
        worse = _PREFER * (quick - slow) / np.maximum(np.minimum(quick, slow), _TINY)
        np.divide(_ONE, _ONE + np.exp(np.minimum(worse, _MOST_EXPONENT)), out=self.share)
        np.divide(self.shift, np.sqrt(span), out=self.lack)

    def _reach(self, levels: Levels) -> Reals:
        """(2, functions) how far above each level its quantile lies, by the spread of the root of what will be seen."""
        result: Reals = self.multiple * np.sqrt(levels.drift * self.steps + levels.variance + self.chance)
        return result

    def _mixed(self, uppers: Reals) -> Reals:
        """(functions,)"""
        mixed = uppers[1] + self.share * (uppers[0] - uppers[1])
        result: Reals = np.maximum(mixed + self.lack * np.sqrt(mixed), LEAST_RATE)
        return result


def _root(requests_per_s: Reals) -> Reals:
    """Anscombe's root: its variance is nearly constant down to a request every few seconds."""
    result: Reals = np.sqrt(requests_per_s + _ANSCOMBE)
    return result


def _rate(root: Reals) -> Reals:
    """The inverse, in requests/s: no less than the least."""
    root = np.maximum(root, _LEAST_ROOT)
    result: Reals = root * root - _ANSCOMBE
    return result
