"""Process autoscaler: the load of one service, recorded each five minutes, and what its day brings next. Told the time.

The fitter finds the day in the record; here it is only read, as far as the last hour was like it.
"""

from __future__ import annotations

from hasgpu.prediction.season import SLOT_S, LoadHistory, Season, slot_of

EARLY_S = 10.0
"""Pods that the season asks for are to be ready so long before: no day begins on the second."""


class SlotClock:
    """Tells when five minutes are over, and whether all of them were heard. Used by one thread."""

    def __init__(self) -> None:
        self._slot: int | None = None
        self._whole = False

    def ended(self, now: float, *, known: bool = True) -> tuple[int, bool] | None:
        """The slot that has ended since the last call and whether it is known; a part of a slot is not."""
        slot = slot_of(now)
        if slot == self._slot:
            self._whole = self._whole and known
            return None
        before, follows = self._slot, slot - 1 == self._slot
        ended = (before, self._whole and follows) if before is not None else None
        self._slot, self._whole = slot, follows and known
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
