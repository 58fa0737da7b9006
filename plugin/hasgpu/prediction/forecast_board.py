"""The forecasts of many functions, a column each: reports are noted, and observed for all at once. Told the time.

That a pass brings word of thousands costs little more than one. Nothing here is the truth: who loses it starts anew.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .forecast import Columns, Levels, Reals, Slots

_LEAST_ROOM = 16
_DENSE = 0.3
"""Part of all functions from which on all of them are reckoned anew: cheaper than picking some out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Horizon:
    """Which quantile of the mean rate, over which time."""

    span_s: float
    quantile: float


class ForecastBoard:
    """Used by one thread. Horizons are known by their place in the order they were given in."""

    def __init__(self, *horizons: Horizon) -> None:
        self._horizons = horizons
        self._free: list[int] = []
        self._levels = Levels.first(np.zeros(0, dtype=np.float32))
        self._slots = [_fresh(each, 0) for each in horizons]
        self._at_s: NDArray[np.float64] = np.zeros(0)
        """When each function was observed last; -inf: never."""
        self._noted = np.zeros(0, dtype=np.bool_)
        self._news = np.zeros((3, 0), dtype=np.float32)
        """Of what was noted: rate, and the requests and seconds that are new."""
        self._now = 0.0
        self._told: dict[int, Reals] = {}
        """Quantiles by horizon, until something changes."""

    @property
    def horizons(self) -> tuple[Horizon, ...]:
        """As given."""
        return self._horizons

    def aim(self, *horizons: Horizon) -> None:
        """Other horizons: what was learnt of the old ones does not hold for them; the levels stay."""
        self._horizons = horizons
        self._slots = [_fresh(each, len(self._at_s)) for each in horizons]
        self._told.clear()

    def add(self) -> int:
        """The column of a function of which nothing is known."""
        if not self._free:
            self._grow()
        column = self._free.pop()
        self._at_s[column] = -np.inf
        for number, horizon in enumerate(self._horizons):
            self._slots[number].put(np.array([column]), _fresh(horizon, 1))
        return column

    def drop(self, column: int) -> None:
        """The function is gone; its column is another's."""
        self._noted[column], self._news[:, column] = False, 0.0
        self._free.append(column)

    def knows(self, column: int) -> bool:
        """Whether anything was ever noted of it."""
        return bool(self._at_s[column] > -np.inf or self._noted[column])

    def follow(self, column: int, other: int) -> None:
        """Begin with what is known of another function."""
        self.settle()
        at, of = np.array([column]), np.array([other])
        self._at_s[at] = self._at_s[of]
        self._levels.put(at, self._levels.of(of))
        for slots in self._slots:
            slots.put(at, slots.of(of))
        self._told.clear()

    def note(self, column: int, requests_per_s: float, requests: float, exposure_s: float, now: float) -> None:
        """Its rate as of now, of which so many requests and seconds are new."""
        news = self._news
        news[0, column] = requests_per_s
        news[1, column] += requests
        news[2, column] += exposure_s
        self._noted[column] = True
        self._now = now

    def span(self, column: int, horizon: int, span_s: float) -> None:
        """How far one function looks ahead; from its next slot on."""
        self._slots[horizon].span_s[column] = span_s

    def cautious(self, column: int, horizon: int) -> float:
        """Requests/s to be ready for."""
        self.settle()
        if horizon not in self._told:
            self._told[horizon] = self._slots[horizon].cautious(self._levels)
        return float(self._told[horizon][column])

    def settle(self) -> None:
        """Observes what was noted."""
        columns = np.flatnonzero(self._noted)
        if not len(columns):
            return
        new = columns[np.isneginf(self._at_s[columns])]
        self._levels.put(new, Levels.first(self._news[0, new]))
        self._at_s[new] = self._now
        # One second has made the level; it teaches nothing beyond it.
        self._news[1:, new] = 0.0
        dense = len(columns) > _DENSE * len(self._at_s)
        self._observe(slice(None) if dense else columns)
        self._at_s[columns] = np.maximum(self._now, self._at_s[columns])
        self._news[:] = 0.0
        self._noted[:] = False
        self._told.clear()

    def _observe(self, columns: Columns) -> None:
        rate, requests, exposure_s = self._news[:, columns]
        elapsed_s = (self._now - self._at_s[columns]).astype(np.float32)
        elapsed_s = np.clip(elapsed_s, 0.0, 3600.0) * self._noted[columns]
        part = self._levels.of(columns).observed(rate, np.minimum(exposure_s, np.float32(1.0)), elapsed_s)
        self._levels = self._levels.put(columns, part)
        for number, slots in enumerate(self._slots):
            counted = slots.of(columns).counted(requests, exposure_s)
            over = np.flatnonzero(counted.ended)
            if len(over):
                counted = counted.put(over, counted.of(over).begun(part.of(over)))
            self._slots[number] = slots.put(columns, counted)

    def _grow(self) -> None:
        there = len(self._at_s)
        more = max(_LEAST_ROOM, there)
        self._free += range(there + more - 1, there - 1, -1)
        self._levels = self._levels.joined(Levels.first(np.zeros(more, dtype=np.float32)))
        for number, each in enumerate(self._horizons):
            self._slots[number] = self._slots[number].joined(_fresh(each, more))
        self._at_s = np.concatenate((self._at_s, np.full(more, -np.inf)))
        self._noted = np.concatenate((self._noted, np.zeros(more, dtype=np.bool_)))
        self._news = np.concatenate((self._news, np.zeros((3, more), dtype=np.float32)), axis=1)
        self._told.clear()


def _fresh(horizon: Horizon, functions: int) -> Slots:
    return Slots.first(functions, span_s=horizon.span_s, quantile=horizon.quantile)
