"""Ready follows its dependents as in Knative, and transition times move only with content."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from hasgpu.autoscaler.conditions import Conditions, to_wire
from hasgpu.cluster.metadata import Condition

DEPENDENTS = ("Active", "ScaleTargetInitialized", "SKSReady")
OLD = datetime(2026, 1, 1, tzinfo=UTC)
NOW = 1_790_000_000.7


def fresh() -> Conditions:
    made = Conditions(DEPENDENTS, ())
    made.initialize()
    return made


def stored(**statuses: str) -> Conditions:
    return Conditions(DEPENDENTS, [Condition(type=t, status=s, last_transition_time=OLD) for t, s in statuses.items()])


def brief(conditions: Conditions) -> dict[str, tuple[str, str]]:
    return {each.type: (each.status, each.reason) for each in conditions.settled(NOW)}


def test_a_new_object_knows_nothing() -> None:
    assert brief(fresh()) == dict.fromkeys((*DEPENDENTS, "Ready"), ("Unknown", ""))


def test_conditions_added_to_a_ready_object_start_true() -> None:
    conditions = stored(Ready="True")
    conditions.initialize()
    assert {status for status, _ in brief(conditions).values()} == {"True"}


@pytest.mark.parametrize(
    ("play", "ready"),
    [
        pytest.param(lambda c: [c.mark_true(t) for t in DEPENDENTS], ("True", ""), id="all true is ready"),
        pytest.param(lambda c: c.mark_true("Active"), ("Unknown", ""), id="one true is not enough"),
        pytest.param(
            lambda c: c.mark_unknown("SKSReady", "NotReady", "m"), ("Unknown", "NotReady"), id="unknown is copied"
        ),
        pytest.param(lambda c: c.mark_false("Active", "NoTraffic", "m"), ("False", "NoTraffic"), id="false is copied"),
        pytest.param(
            lambda c: (c.mark_false("Active", "NoTraffic", "m"), c.mark_unknown("SKSReady", "NotReady", "m")),
            ("False", "NoTraffic"),
            id="an unknown does not soften a false",
        ),
        pytest.param(
            lambda c: (c.mark_false("Active", "NoTraffic", "m"), c.mark_true("SKSReady")),
            ("False", "NoTraffic"),
            id="a true dependent leaves the false one in charge",
        ),
        pytest.param(
            lambda c: (
                c.mark_unknown("SKSReady", "NotReady", "m"),
                c.mark_unknown("Active", "Queued", "m"),
                c.mark_true("ScaleTargetInitialized"),
            ),
            ("Unknown", "Queued"),
            id="of two unknowns the later one speaks",
        ),
        pytest.param(
            lambda c: c.mark_unknown("Ready", "NewObservedGenFailure", "m"),
            ("Unknown", "NewObservedGenFailure"),
            id="ready itself can be marked",
        ),
    ],
)
def test_ready_follows(play: Callable[[Conditions], object], ready: tuple[str, str]) -> None:
    conditions = fresh()
    play(conditions)
    assert brief(conditions)["Ready"] == ready


def test_a_missing_dependent_keeps_ready_unknown() -> None:
    conditions = stored(Active="True", SKSReady="True", Ready="True")
    conditions.mark_true("Active")
    assert brief(conditions)["Ready"] == ("Unknown", "")


def test_a_condition_set_to_what_it_was_keeps_its_transition_time() -> None:
    conditions = stored(Active="True", ScaleTargetInitialized="True", SKSReady="True", Ready="True")
    conditions.mark_unknown("SKSReady", "NotReady", "m")
    conditions.mark_true("SKSReady")
    assert {each.last_transition_time for each in conditions.settled(NOW)} == {OLD}


def test_a_new_reason_alone_is_a_transition_at_the_whole_second() -> None:
    conditions = stored(Active="False", ScaleTargetInitialized="True", SKSReady="True", Ready="False")
    conditions.mark_false("Active", "NoTraffic", "m")
    times = {each.type: each.last_transition_time for each in conditions.settled(NOW)}
    assert times["Active"] == times["Ready"] == datetime.fromtimestamp(1_790_000_000, UTC)
    assert times["SKSReady"] == OLD


def test_the_wire_form_leaves_out_what_is_empty() -> None:
    conditions = Conditions((), [Condition(type="Ready", status="True", last_transition_time=OLD)])
    assert to_wire(conditions.settled(NOW)) == [
        {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    ]
