"""Process autoscaler: has the fitter look for the days in loads. On the leader, in the thread that fits profiles.

The fitter loads statsmodels for it, which takes seconds, so there is one question a turn.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from hasgpu.prediction.season import LoadHistory

from .profile_book import ProfileKey
from .season_keeping import without_season

log = logging.getLogger(__name__)

AGAIN_S = 3600.0
"""After a question that was not answered."""

Loads = Mapping[str, LoadHistory]


class SeasonSearch:
    """``fit`` takes an order and returns the fitter's answer."""

    def __init__(self, fit: Callable[[bytes], bytes]) -> None:
        self._fit = fit
        self.asked = False
        """In this turn: then nobody else is due."""
        self._failed_s: dict[ProfileKey, float] = {}

    def begin_turn(self) -> None:
        """One question may be asked again."""
        self.asked = False

    def due(self, key: ProfileKey, learned: Mapping[str, Any] | None, loads: Loads, now: float) -> Loads:
        """The loads to be asked about now; none where it is not this profile's turn."""
        if self.asked or now - self._failed_s.get(key, -math.inf) < AGAIN_S:
            return {}
        return without_season(learned, loads)

    def ask(self, key: ProfileKey, loads: Loads, now: float) -> tuple[Mapping[str, Any], str]:
        """The seasons as an object keeps them, by service, and the problem where there is one."""
        self.asked = True
        order = {"histories": {service: history.to_plain() for service, history in loads.items()}}
        answer = msgspec.json.decode(self._fit(msgspec.json.encode(order)), type=dict[str, Any])
        if "problem" in answer:
            self._failed_s[key] = now
            log.warning("LatencyProfile %s/%s: no season: %s", *key, answer["problem"])
            return {}, str(answer["problem"])
        self._failed_s.pop(key, None)
        return {service: season for service, season in answer["seasons"].items() if season is not None}, ""
