"""The forecasts of many functions, a column each: reports are noted, and observed for all at once. Told the time.

Word of some costs what these cost, and word of all little more than one. Nothing here is the truth: who loses it
starts anew.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .forecast import Columns, Levels, Slots

_LEAST_ROOM = 16
_DENSE = 0.3
"""Part of all functions from which on all of them are reckoned anew: cheaper than picking some out."""
_LONGEST_S = np.float32(3600.0)
"""Of silence, after which a level is taken to be no less sure."""


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
        self._end = 0
        """Columns from here on were never given out."""
        self._levels = Levels.first(np.zeros(0, dtype=np.float32))
        self._slots = [_fresh(each, 0) for each in horizons]
        self._told = np.zeros((len(horizons), 0), dtype=np.float32)
        """Requests/s to be ready for, by horizon."""
        self._known = np.zeros(0, dtype=np.bool_)
        """Who was ever observed."""
        self._at_s: NDArray[np.float64] = np.zeros(0)
        """When each of them was observed last."""
        self._noted = np.zeros(0, dtype=np.bool_)
        self._any_noted = False
        self._news = np.zeros((3, 0), dtype=np.float32)
        """Of what was noted: rate, and the requests and seconds that are new."""
        self._now = 0.0

    @property
    def horizons(self) -> tuple[Horizon, ...]:
        """As given."""
        return self._horizons

    def aim(self, *horizons: Horizon) -> None:
        """Other horizons: what was learnt of the old ones does not hold for them; the levels stay."""
        self._horizons = horizons
        self._slots = [_fresh(each, len(self._at_s)) for each in horizons]
        self._told = np.array([slots.cautious(self._levels) for slots in self._slots])

    def add(self) -> int:
        """The column of a function of which nothing is known."""
        if not self._free:
            self._grow()
        column = self._free.pop()
        self._end = max(self._end, column + 1)
        self._known[column] = False
        for slots, horizon in zip(self._slots, self._horizons, strict=True):
            slots.put(np.array([column]), _fresh(horizon, 1))
        return column

    def drop(self, column: int) -> None:
        """The function is gone; its column is another's."""
        self._noted[column], self._news[:, column] = False, 0.0
        self._free.append(column)

    def knows(self, column: int) -> bool:
        """Whether anything was ever noted of it."""
        return bool(self._known[column] or self._noted[column])

    def follow(self, column: int, other: int) -> None:
        """Begin with what is known of another function."""
        self.settle()
        at, of = np.array([column]), np.array([other])
        self._known[at], self._at_s[at] = self._known[of], self._at_s[of]
        self._told[:, at] = self._told[:, of]
        for table in (self._levels, *self._slots):
            table.rows[:, at] = table.rows[:, of]

    def note(self, column: int, requests_per_s: float, requests: float, exposure_s: float, now: float) -> None:
        """Its rate as of now, of which so many requests and seconds are new."""
        news = self._news
        news[0, column] = requests_per_s
        news[1, column] += requests
        news[2, column] += exposure_s
        self._noted[column] = self._any_noted = True
        self._now = now

    def span(self, column: int, horizon: int, span_s: float) -> None:
        """How far one function looks ahead; from its next slot on."""
        self._slots[horizon].span_s[column] = span_s

    def cautious(self, column: int, horizon: int) -> float:
        """Requests/s to be ready for."""
        self.settle()
        return float(self._told[horizon, column])

    def settle(self) -> None:
        """Observes what was noted."""
        if not self._any_noted:
            return
        there = slice(self._end)
        noted, known = self._noted[there], self._known[there]
        new = np.flatnonzero(noted & ~known)
        if len(new):
            self._begin(new)
        columns = np.flatnonzero(noted)
        self._observe(there if len(columns) > _DENSE * self._end else columns)
        self._at_s[columns] = np.maximum(self._now, self._at_s[columns])
        self._news[1:, there] = 0.0
        noted[:] = self._any_noted = False

    def _begin(self, columns: NDArray[np.intp]) -> None:
        self._levels.put(columns, Levels.first(self._news[0, columns]))
        self._known[columns], self._at_s[columns] = True, self._now
        # One second has made the level; it teaches nothing beyond it.
        self._news[1:, columns] = 0.0
        for slots in self._slots:
            # Slots begin with the level, not with what stood in the column before there was one.
            slots.told[columns] = -1.0

    def _observe(self, columns: Columns) -> None:
        """Of those of whom nothing was noted nothing changes: no time passes, and nothing is seen."""
        elapsed_s = np.clip(self._now - self._at_s[columns], 0.0, _LONGEST_S).astype(np.float32) * self._noted[columns]
        news = self._news[:, columns]
        levels = self._levels.of(columns)
        levels.observe(news[0], np.minimum(news[2], np.float32(1.0)), elapsed_s)
        self._levels.put(columns, levels)
        for number, whole in enumerate(self._slots):
            slots = whole.of(columns)
            slots.count(news[1:])
            over = np.flatnonzero(slots.ended)
            if len(over):
                ended = slots.of(over)
                ended.begin(levels.of(over))
                slots.put(over, ended)
            whole.put(columns, slots)
            self._told[number, columns] = slots.cautious(levels)

    def _grow(self) -> None:
        there = len(self._at_s)
        more = max(_LEAST_ROOM, there)
        self._free += range(there + more - 1, there - 1, -1)
        self._levels = self._levels.joined(Levels.first(np.zeros(more, dtype=np.float32)))
        fresh = [_fresh(each, more) for each in self._horizons]
        self._slots = [slots.joined(each) for slots, each in zip(self._slots, fresh, strict=True)]
        self._told = np.pad(self._told, ((0, 0), (0, more)))
        self._known = np.concatenate((self._known, np.zeros(more, dtype=np.bool_)))
        self._at_s = np.concatenate((self._at_s, np.zeros(more)))
        self._noted = np.concatenate((self._noted, np.zeros(more, dtype=np.bool_)))
        self._news = np.concatenate((self._news, np.zeros((3, more), dtype=np.float32)), axis=1)


def _fresh(horizon: Horizon, functions: int) -> Slots:
    return Slots.first(functions, span_s=horizon.span_s, quantile=horizon.quantile)
