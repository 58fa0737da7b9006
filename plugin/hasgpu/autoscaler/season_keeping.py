"""Process autoscaler: what a LatencyProfile keeps of the loads of the services that use it. Pure.

``status.learned.loads``: by service the history of its load and the season in it. A day that is found is looked for
again a day later. What is not used for a week goes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from hasgpu.prediction.season import DAYS_KEPT, DAYS_NEEDED, SLOTS_A_DAY, LoadHistory, Season, to_history, to_season

MOST_SERVICES = 16
"""Of one profile, 3.2 KB each: more would not fit into the object."""
PROFILES_AT_ONCE = 500
"""Where there are more, five minutes without requests wait for others: two writes a second are enough of nothing."""
MOST_IDLE_SLOTS = 12
_STAYS = 1.25
"""Times as many requests another must have to take a place: who loses it loses its days."""

Plain = Mapping[str, Any]


def kept_loads(learned: Plain | None) -> Mapping[str, Plain]:
    """By service, as it stands in a status; what is no load at all is left out."""
    loads = (learned or {}).get("loads")
    if not isinstance(loads, dict):
        return {}
    return {service: each for service, each in loads.items() if isinstance(each, dict)}


def kept_history(kept: Plain | None) -> LoadHistory | None:
    """None where there is none of use."""
    try:
        return to_history((kept or {})["history"])
    except (KeyError, ValueError, AttributeError):
        return None


def kept_season(kept: Plain) -> Season | None:
    """None where there is none; ValueError where it is spoilt."""
    season = kept.get("season")
    if season is None:
        return None
    if not isinstance(season, dict):
        raise ValueError(f"must be an object, was {season!r}")
    return to_season(season)


def idle_slots(profiles: int) -> int:
    """So many slots without requests are written at once, where so many profiles keep loads."""
    return min(1 + profiles // PROFILES_AT_ONCE, MOST_IDLE_SLOTS)


def unwritten(learned: Plain | None, loads: Mapping[str, LoadHistory], idle: int) -> bool:
    """Whether there is something to be written now; ``idle``: so many slots without requests are something."""
    kept = kept_loads(learned)
    for service in most_kept(loads, kept):
        history, before = loads[service], kept_history(kept.get(service))
        new = history.since(before.end_slot if before is not None else 0)
        if (new > 0.0).any() or (before is not None and len(new) >= idle):
            return True
    return False


def without_season(learned: Plain | None, loads: Mapping[str, LoadHistory]) -> dict[str, LoadHistory]:
    """The loads in which a day is to be looked for."""
    kept = kept_loads(learned)
    return {
        service: loads[service] for service in most_kept(loads, kept) if _is_due(loads[service], kept.get(service, {}))
    }


def merged(
    learned: Plain | None, loads: Mapping[str, LoadHistory], seasons: Mapping[str, Plain]
) -> dict[str, dict[str, Any]]:
    """All that is to be kept: these loads and the seasons just found in them; of other services what is not too old."""
    before = kept_loads(learned)
    latest = max((history.end_slot for history in loads.values()), default=0)
    result: dict[str, dict[str, Any]] = {}
    for service, kept in before.items():
        history = kept_history(kept)
        if service not in loads and history is not None and latest - history.end_slot < DAYS_KEPT * SLOTS_A_DAY:
            result[service] = dict(kept)
    for service in most_kept(loads, before):
        season = seasons.get(service) or _season_still_told(before.get(service, {}), loads[service])
        result[service] = {"history": loads[service].to_plain(), **({"season": season} if season else {})}
    return dict(list(result.items())[-MOST_SERVICES:])


def season_said(kept: Mapping[str, Plain], problem: str = "", left_out: int = 0) -> tuple[bool, str, str]:
    """Whether a season is in use, the reason in a word, and a sentence about each service.

    ``left_out``: so many services use the profile and have no place in it.
    """
    words, sentences = set(), []
    if left_out:
        more = f"{left_out} more services with fewer requests have none: a profile keeps the days of {MOST_SERVICES}"
        sentences.append(f"{more}, so give them profiles of their own")
    for service in sorted(kept):
        word, sentence = _said(kept[service])
        words.add(word)
        sentences.append(f"{service}: {sentence}")
    if problem:
        return "Found" in words, "NotFitted", "; ".join([problem, "the last good season stays in use", *sentences])
    reason = next(word for word in ("Found", "Sought", "TooShort", "NoneRepeats") if word in words)
    return reason == "Found", reason, "; ".join(sentences)


def _said(kept: Plain) -> tuple[str, str]:
    days, season = (kept_history(kept) or LoadHistory()).days, _season_or_none(kept)
    if season is not None and season.flat:
        return "NoneRepeats", f"no day repeats in {days:.1f} days"
    if season is not None:
        return "Found", f"a day was found in {days:.1f} days"
    if days < DAYS_NEEDED:
        return "TooShort", f"{days:.1f} of {DAYS_NEEDED} days known"
    return "Sought", f"{days:.1f} days known"


def most_kept(loads: Mapping[str, LoadHistory], kept: Mapping[str, Plain]) -> list[str]:
    """As many as an object holds: those with the most requests, and who is kept stays where it has nearly as many."""
    if len(loads) <= MOST_SERVICES:
        return sorted(loads)

    def rank(service: str) -> tuple[float, str]:
        requests = float(np.nansum(loads[service].means))
        return -requests * (_STAYS if service in kept else 1.0), service

    return sorted(sorted(loads, key=rank)[:MOST_SERVICES])


def _season_still_told(kept: Plain, history: LoadHistory) -> Any:
    """The season as it stands there, spoilt or not; None where nothing is left of the record that it was found in."""
    season = _season_or_none(kept)
    return None if season is not None and season.fitted_slot <= history.first_slot else kept.get("season")


def _is_due(history: LoadHistory, kept: Plain) -> bool:
    if history.days < DAYS_NEEDED:
        return False
    season = _season_or_none(kept)
    return season is None or history.end_slot - season.fitted_slot >= SLOTS_A_DAY


def _season_or_none(kept: Plain) -> Season | None:
    try:
        return kept_season(kept)
    except ValueError:
        return None
