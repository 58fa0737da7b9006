"""Five minutes after five minutes of a load, and what the day in it brings; time is passed in."""

from __future__ import annotations

import pytest
from hasgpu.autoscaler.recorded_load import EARLY_S, RecordedLoad, SlotClock
from hasgpu.prediction.season import SLOT_S, SLOTS_A_DAY, LoadHistory, Season

EIGHT = 96


@pytest.mark.parametrize(
    ("calls", "ended"),
    [
        pytest.param([(0.0, True), (299.0, True)], None, id="it has not ended"),
        pytest.param([(10.0, True), (300.0, True)], (0, False), id="a part of a slot is not known"),
        pytest.param([(10.0, True), (300.0, True), (600.0, True)], (1, True), id="a whole one is"),
        pytest.param([(10.0, True), (300.0, False), (600.0, True)], (1, False), id="not where its beginning is not"),
        pytest.param([(10.0, True), (300.0, True), (400.0, False), (600.0, True)], (1, False), id="nor its middle"),
        pytest.param(
            [(10.0, True), (300.0, True), (400.0, True), (404.0, False), (408.0, True), (600.0, True)],
            (1, True),
            id="an activator that starts anew costs a moment and not five minutes",
        ),
        pytest.param([(10.0, True), (300.0, True), (900.0, True)], (1, False), id="nor where nobody looked for long"),
        pytest.param([(900.0, True), (1200.0, True), (600.0, True)], (4, False), id="nor after the clock was set back"),
    ],
)
def test_a_slot_ends_once_and_is_known_where_nearly_all_of_it_was_heard(
    calls: list[tuple[float, bool]], ended: tuple[int, bool] | None
) -> None:
    clock = SlotClock()
    answers = [clock.ended(now, known=known) for now, known in calls]
    assert answers[-1] == ended


def test_what_came_in_five_minutes_is_their_mean() -> None:
    load = RecordedLoad()
    load.record(7, 600.0)
    assert load.history == LoadHistory.of(7, [2.0])


def season() -> Season:
    return Season.of((4.0 if EIGHT <= slot < EIGHT + 12 else 0.0 for slot in range(SLOTS_A_DAY)), SLOTS_A_DAY)


@pytest.mark.parametrize(
    ("before_s", "awaited"),
    [
        pytest.param(8.0 + EARLY_S + 1.0, 0.0, id="there is time"),
        pytest.param(8.0 + EARLY_S, 4.0, id="a pod asked for now is ready just early enough"),
        pytest.param(-60.0, 4.0, id="it has begun"),
    ],
)
def test_the_season_is_awaited_a_start_up_before_it_begins(before_s: float, awaited: float) -> None:
    eight = (SLOTS_A_DAY + EIGHT) * SLOT_S
    assert RecordedLoad().awaited_per_s(season(), eight - before_s, 8.0) == pytest.approx(awaited, rel=0.03)


def test_a_day_that_is_not_like_the_others_is_believed_after_five_minutes() -> None:
    load, slot = RecordedLoad(), SLOTS_A_DAY + EIGHT
    load.record(slot - 1, 0.0)
    found = season()
    assert load.awaited_per_s(found, slot * SLOT_S, 8.0) == pytest.approx(4.0, rel=0.03)
    load.record(slot, 0.0)
    assert load.awaited_per_s(found, (slot + 1) * SLOT_S, 8.0) == 0.0


@pytest.mark.parametrize(
    "none",
    [
        pytest.param(None, id="none was looked for"),
        pytest.param(Season.of([0.0] * SLOTS_A_DAY, 1), id="none was found"),
    ],
)
def test_without_a_season_nothing_is_awaited(none: Season | None) -> None:
    assert RecordedLoad().awaited_per_s(none, 0.0, 8.0) == 0.0
