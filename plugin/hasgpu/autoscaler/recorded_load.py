"""Process autoscaler: the load of one service, recorded each five minutes, and what its day brings next. Told the time.

The fitter finds the day in the record; here it is only read, as far as the last hour was like it.
"""

from __future__ import annotations

from hasgpu.prediction.season import SLOT_S, LoadHistory, Season, slot_of

EARLY_S = 10.0
"""Pods that the season asks for are to be ready so long before: no day begins on the second."""


class RecordedLoad:
    """Used by one thread."""

    def __init__(self, history: LoadHistory | None = None, season: Season | None = None) -> None:
        self.history = history or LoadHistory()
        self.season = season
        self._slot: int | None = None
        self._requests = 0.0
        self._whole = False
        self._trusted: tuple[int, Season | None, Season] | None = None

    def count(self, requests: float, now: float, *, known: bool = True) -> None:
        """Requests since the last call; what is not known leaves a gap, and a part of a slot is not known."""
        slot = slot_of(now)
        if slot != self._slot:
            if self._slot is not None and self._whole:
                self.history = self.history.recorded(self._slot, self._requests / SLOT_S)
            self._whole = self._slot is not None and slot == self._slot + 1
            self._slot, self._requests = slot, 0.0
        self._requests += requests
        self._whole = self._whole and known

    def awaited_per_s(self, now: float, startup_s: float) -> float:
        """Requests/s that the season brings by the time a pod asked for now would be ready."""
        if self.season is None:
            return 0.0
        slot = slot_of(now)
        if self._trusted is None or self._trusted[:2] != (slot, self.season):
            self._trusted = slot, self.season, self.season.trusted(self.history, now)
        return self._trusted[2].expected_per_s(now, startup_s + EARLY_S)
