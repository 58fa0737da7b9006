"""Silence counts only while there are as many connections as activators that may hold requests."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hasgpu.autoscaler.reporters import Reporters
from hasgpu.cluster.metadata import Condition, Metadata
from hasgpu.cluster.objects import Pod, PodStatus
from hasgpu.model.keys import RevisionKey

KEY = RevisionKey("knative-serving", "hasgpu-allocator")
NOW = 1000.0


def activator(*, ready: bool = True, since: float = 0.0, phase: str = "Running") -> Pod:
    at = datetime.fromtimestamp(since, UTC)
    condition = Condition(type="Ready", status="True" if ready else "False", last_transition_time=at)
    return Pod(metadata=Metadata(name="activator"), status=PodStatus(phase=phase, conditions=(condition,)))


def reporters(here: int, pods: tuple[Pod, ...] | None, name: str = "a") -> Reporters:
    return Reporters(KEY, name, here=lambda: here, activators=lambda: pods)


@pytest.mark.parametrize(
    ("here", "pods", "complete"),
    [
        pytest.param(2, (activator(), activator()), True, id="all activators are connected here"),
        pytest.param(1, (activator(), activator()), False, id="one of two is not connected"),
        pytest.param(1, None, False, id="nobody knows the activators yet"),
        pytest.param(0, (), False, id="there is no activator, so nobody can tell of load"),
        pytest.param(1, (activator(), activator(ready=False, since=NOW - 30)), False, id="one fell away just now"),
        pytest.param(1, (activator(), activator(ready=False, since=NOW - 90)), True, id="one is broken for long"),
        pytest.param(1, (activator(), activator(phase="Pending")), True, id="one does not run yet"),
    ],
)
def test_silence_counts_where(here: int, pods: tuple[Pod, ...] | None, complete: bool) -> None:
    assert reporters(here, pods).complete(NOW) == complete


def test_activators_of_another_replica_count_while_that_replica_says_so() -> None:
    leader, other = reporters(1, (activator(), activator())), reporters(1, None, "b")
    leader.take(other.message(NOW), NOW)
    assert leader.complete(NOW + 2.0)
    assert not leader.complete(NOW + 4.0)
