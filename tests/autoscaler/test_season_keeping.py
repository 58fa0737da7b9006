"""What a profile keeps of loads: when it is written, which days are looked for, what it says; the question asked."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hasgpu.autoscaler.season_keeping import (
    MOST_SERVICES,
    idle_slots,
    kept_loads,
    merged,
    season_said,
    unwritten,
    without_season,
)
from hasgpu.autoscaler.season_search import AGAIN_S, SeasonSearch
from hasgpu.prediction.season import DAYS_KEPT, SLOTS_A_DAY, LoadHistory, Season

WEEK = DAYS_KEPT * SLOTS_A_DAY


def history(*means: float, first: int = 0) -> LoadHistory:
    return LoadHistory.of(first, means)


def days(number: float, first: int = 0) -> LoadHistory:
    return LoadHistory.of(first, [1.0] * int(number * SLOTS_A_DAY))


def season(fitted: int, rate: float = 1.0) -> dict[str, Any]:
    return Season.of([rate] * SLOTS_A_DAY, fitted).to_plain()


def kept(**loads: Any) -> dict[str, Any]:
    return {"loads": loads}


@pytest.mark.parametrize(
    ("before", "now", "idle", "is_unwritten"),
    [
        pytest.param(None, history(0.0, 0.0, 0.0), 1, False, id="a service that had no request yet"),
        pytest.param(None, history(0.0, 2.0), 1, True, id="a service that had one"),
        pytest.param(history(1.0), history(1.0, 2.0), 1, True, id="requests came since"),
        pytest.param(history(1.0), history(1.0, 0.0), 1, True, id="none came since"),
        pytest.param(history(1.0), history(1.0, 0.0), 2, False, id="none came since, and others are many"),
        pytest.param(history(1.0), history(1.0, 0.0, 0.0), 2, True, id="none came for longer"),
        pytest.param(history(1.0), history(1.0), 1, False, id="nothing is new"),
        pytest.param(
            history(9.0, first=WEEK), history(1.0, first=2 * WEEK), 1, True, id="the one before is a week old"
        ),
    ],
)
def test_new_five_minutes_are_written(
    before: LoadHistory | None, now: LoadHistory, idle: int, is_unwritten: bool
) -> None:
    learned = kept(a={"history": before.to_plain()}) if before is not None else None
    assert unwritten(learned, {"a": now}, idle) is is_unwritten


@pytest.mark.parametrize(
    ("profiles", "slots"),
    [
        pytest.param(1, 1, id="of one each five minutes"),
        pytest.param(1200, 3, id="of many three at once"),
        pytest.param(10**6, 12, id="an hour at most"),
    ],
)
def test_many_idle_services_are_written_less_often(profiles: int, slots: int) -> None:
    assert idle_slots(profiles) == slots


@pytest.mark.parametrize(
    ("found", "known", "is_due"),
    [
        pytest.param(None, days(1.9), False, id="not before two days"),
        pytest.param(None, days(2), True, id="from two days on"),
        pytest.param(season(2 * SLOTS_A_DAY), days(2.9), False, id="not again on the same day"),
        pytest.param(season(2 * SLOTS_A_DAY), days(3), True, id="again a day later"),
        pytest.param(season(2 * SLOTS_A_DAY, 0.0), days(2.5), False, id="not where none was found that day"),
        pytest.param({"means": "spoilt"}, days(2), True, id="where it is spoilt"),
        pytest.param("spoilt", days(2), True, id="where it is no object"),
    ],
)
def test_a_day_is_looked_for_once_a_day(found: object, known: LoadHistory, is_due: bool) -> None:
    learned = kept(a={"history": known.to_plain(), **({"season": found} if found else {})})
    assert bool(without_season(learned, {"a": known})) is is_due


def test_what_is_kept_is_the_newest_of_each_service() -> None:
    learned = kept(
        a={"history": history(1.0).to_plain(), "season": season(WEEK + 1)},
        b={"history": history(3.0, first=WEEK - 9).to_plain()},
        gone={"history": history(3.0).to_plain()},
        spoilt="no load",
        other={"history": 7},
    )
    result = merged(learned, {"a": history(2.0, first=WEEK), "c": history(5.0, first=WEEK)}, {"c": season(2)})
    assert sorted(result) == ["a", "b", "c"]
    assert result["a"] == {"history": history(2.0, first=WEEK).to_plain(), "season": season(WEEK + 1)}
    assert result["c"]["season"] == season(2)


def test_a_write_that_brings_no_loads_keeps_those_that_are_there() -> None:
    learned = kept(a={"history": history(1.0).to_plain(), "season": season(1)})
    assert merged(learned, {}, {}) == learned["loads"]


def test_of_very_many_services_those_with_the_most_requests_are_kept_and_the_others_are_told() -> None:
    many = {f"service-{number:03}": history(float(number)) for number in range(MOST_SERVICES + 9)}
    result = merged(None, many, {})
    assert sorted(result) == sorted(many)[9:]
    said = season_said(result, left_out=9)[2]
    assert said.startswith(
        f"9 more services with fewer requests have none: a profile keeps the days of {MOST_SERVICES}"
    )


def test_who_has_a_place_keeps_it_against_one_with_hardly_more_requests() -> None:
    many = {f"service-{number:03}": history(100.0) for number in range(MOST_SERVICES)}
    before = {"loads": merged(None, many, {})}
    assert sorted(merged(before, {**many, "another": history(110.0)}, {})) == sorted(many)
    assert "another" in merged(before, {**many, "another": history(200.0)}, {})


def test_of_a_profile_that_very_many_services_use_some_are_kept_and_the_object_stays_small() -> None:
    many = {f"service-{number:03}": days(7) for number in range(MOST_SERVICES + 9)}
    result = merged(
        kept(**{name: {"history": days(7).to_plain()} for name in many}), many, dict.fromkeys(many, season(1))
    )
    assert len(result) == MOST_SERVICES
    assert len(json.dumps(result)) < 60_000


@pytest.mark.parametrize("loads", [pytest.param(None, id="nothing"), pytest.param([1], id="a list")])
def test_what_is_no_loads_at_all_is_none(loads: object) -> None:
    assert kept_loads({"loads": loads}) == {}
    assert kept_loads(None) == {}


@pytest.mark.parametrize(
    ("loads", "problem", "said"),
    [
        pytest.param(
            {"a": {"history": days(0.5).to_plain()}}, "", (False, "TooShort", "a: 0.5 of 2 days known"), id="too short"
        ),
        pytest.param(
            {"a": {"history": days(2.5).to_plain()}}, "", (False, "Sought", "a: 2.5 days known"), id="not looked at yet"
        ),
        pytest.param(
            {"a": {"history": days(3).to_plain(), "season": season(3 * SLOTS_A_DAY, 0.0)}},
            "",
            (False, "NoneRepeats", "a: no day repeats in 3.0 days"),
            id="no day repeats",
        ),
        pytest.param(
            {
                "a": {"history": days(2).to_plain(), "season": season(2 * SLOTS_A_DAY)},
                "b": {"history": days(1).to_plain()},
            },
            "",
            (True, "Found", "a: a day was found in 2.0 days; b: 1.0 of 2 days known"),
            id="one of two has a day",
        ),
        pytest.param(
            {"a": {"history": days(2).to_plain(), "season": season(2 * SLOTS_A_DAY)}},
            "out of memory",
            (True, "NotFitted", "out of memory; the last good season stays in use; a: a day was found in 2.0 days"),
            id="it could not be fitted again",
        ),
    ],
)
def test_the_condition_says_what_is_known_of_each_service(
    loads: dict[str, Any], problem: str, said: tuple[bool, str, str]
) -> None:
    assert season_said(loads, problem) == said


def test_one_question_a_turn_and_after_a_failure_none_for_an_hour() -> None:
    orders: list[Any] = []
    answers = [b'{"problem": "no statsmodels"}', b'{"seasons": {"a": {"means": "", "fittedSlot": 7}, "b": null}}']

    def fit(order: bytes) -> bytes:
        orders.append(json.loads(order))
        return answers[len(orders) - 1]

    search, key, loads = SeasonSearch(fit), ("ns", "model"), {"a": days(2), "b": days(2)}
    search.begin_turn()
    assert search.ask(key, search.due(key, None, loads, 0.0), 0.0) == ({}, "no statsmodels")
    assert not search.due(("ns", "other"), None, loads, 0.0)
    search.begin_turn()
    assert search.due(("ns", "other"), None, loads, 1.0) == loads
    assert not search.due(key, None, loads, AGAIN_S - 1.0)
    due = search.due(key, None, loads, AGAIN_S)
    assert search.ask(key, due, AGAIN_S) == ({"a": {"means": "", "fittedSlot": 7}}, "")
    assert [sorted(order["histories"]) for order in orders] == [["a", "b"], ["a", "b"]]


def test_unknown_five_minutes_are_nothing_to_be_written_for() -> None:
    learned = kept(a={"history": history(1.0).to_plain()})
    assert not unwritten(learned, {"a": history(1.0, math.nan)}, 2)


def test_a_day_goes_with_the_record_that_it_was_found_in() -> None:
    """Where recording was off for a month, the record begins anew, and so does what is told by it."""
    learned = kept(a={"history": days(3).to_plain(), "season": season(3 * SLOTS_A_DAY)})
    month = 30 * SLOTS_A_DAY
    result = merged(learned, {"a": days(3).recorded(month, 0.02)}, {})
    assert "season" not in result["a"]
    assert season_said(result)[:2] == (False, "TooShort")
    week = merged(learned, {"a": days(3).recorded(4 * SLOTS_A_DAY, 0.02)}, {})
    assert "season" in week["a"]
