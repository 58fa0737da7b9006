"""Process autoscaler: the load of one service, recorded each five minutes, and what its day brings next. Told the time.

The fitter finds the day in the record; here it is only read, as far as the last hour was like it.
"""

from __future__ import annotations

import math

from hasgpu.prediction.season import SLOT_S, LoadHistory, Season, slot_of

MOST_MISSED_S = 0.1 * SLOT_S
"""Of a slot, in which what came may not have been told: a tenth at most is missing in its mean."""
EARLY_S = 10.0
"""Pods that the season asks for are to be ready so long before: no day begins on the second."""


class SlotClock:
    """Tells when five minutes are over, and whether they were heard. Used by one thread."""

    def __init__(self) -> None:
        self._slot: int | None = None
        self._last_s, self._last_known = 0.0, False
        self._missed_s = math.inf
        """Of the slot that runs; a slot that was not seen from its beginning on is missed."""

    def ended(self, now: float, *, known: bool = True) -> tuple[int, bool] | None:
        """The slot that has ended since the last call and whether it is known.

        A part of a slot is not; one in which some activator was away for a moment, as at each of its restarts, is.
        """
        slot = slot_of(now)
        if self._slot is not None and not (known and self._last_known):
            self._missed_s += min(now, (self._slot + 1) * SLOT_S) - self._last_s
        self._last_s, self._last_known = now, known
        if slot == self._slot:
            return None
        before, follows = self._slot, slot - 1 == self._slot
        ended = (before, self._missed_s <= MOST_MISSED_S and follows) if before is not None else None
        self._slot = slot
        self._missed_s = 0.0 if follows else math.inf
        return ended


class RecordedLoad:
    """Used by one thread."""

    def __init__(self, history: LoadHistory | None = None) -> None:
        self.history = history or LoadHistory()
        self._trusted: tuple[int, Season, Season] | None = None

    def record(self, slot: int, requests: float) -> None:
        """So many in five minutes that are over; of five minutes that are not known nothing is recorded."""
        self.history = self.history.recorded(slot, requests / SLOT_S)

    def awaited_per_s(self, season: Season | None, now: float, startup_s: float) -> float:
        """Requests/s that the season brings by the time a pod asked for now would be ready."""
        if season is None or season.flat:
            return 0.0
        slot = slot_of(now)
        if self._trusted is None or self._trusted[0] != slot or self._trusted[1] is not season:
            self._trusted = slot, season, season.trusted(self.history, now)
        return self._trusted[2].expected_per_s(now, startup_s + EARLY_S)
