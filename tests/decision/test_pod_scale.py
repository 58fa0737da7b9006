"""Bounds, initial scale and the way to zero, step by step."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hasgpu.decision.pod_scale import Activity, ScaleBounds, ScaleStep, ZeroPolicy, scale_step

ACTIVE = Activity(status="True", for_s=10)
LONG_ACTIVE = Activity(status="True", for_s=60)
INACTIVE = Activity(status="False", for_s=5)
ACTIVATING = Activity(status="Unknown", for_s=5)


def step(desired: int, activity: Activity = ACTIVE, **changes: Any) -> ScaleStep:
    bounds = {"least": 0, "most": 0, "initial": 1, "reachable": True}
    policy = {
        "enabled": True,
        "activation_timeout_s": 630.0,
        "stable_window_s": 60.0,
        "grace_period_s": 30.0,
        "retention_s": 0.0,
    }
    facts = {
        "initialized": True,
        "proxied": False,
        "proxied_for_s": 0.0,
        "activator_in_path": lambda: True,
    }
    for key, value in changes.items():
        next(group for group in (bounds, policy, facts) if key in group)[key] = value
    return scale_step(
        desired,
        bounds=ScaleBounds(**bounds),  # type: ignore[arg-type]
        policy=ZeroPolicy(**policy),  # type: ignore[arg-type]
        activity=activity,
        **facts,  # type: ignore[arg-type]
    )


def unasked() -> bool:
    raise AssertionError("the probe costs a request and was not needed")


CASES = [
    ("an unknown scale changes nothing on an active revision", step(-1, least=3), ScaleStep(want=-1, apply=False)),
    (
        "an unknown scale of an activating revision is bounded",
        step(-1, ACTIVATING, least=2),
        ScaleStep(want=2, apply=True),
    ),
    ("min-scale raises", step(1, least=3), ScaleStep(want=3, apply=True)),
    ("max-scale cuts", step(9, most=4), ScaleStep(want=4, apply=True)),
    ("max-scale 0 is no bound", step(9, most=0), ScaleStep(want=9, apply=True)),
    ("the initial scale holds until reached", step(1, initial=3, initialized=False), ScaleStep(want=3, apply=True)),
    ("once reached the initial scale is history", step(1, initial=3), ScaleStep(want=1, apply=True)),
    (
        "an unreachable revision skips its initial scale",
        step(1, initial=3, initialized=False, reachable=False),
        ScaleStep(want=1, apply=True),
    ),
    ("without scale-to-zero one pod stays", step(0, LONG_ACTIVE, enabled=False), ScaleStep(want=1, apply=True)),
    (
        "an activating revision waits for its pods",
        step(0, ACTIVATING),
        ScaleStep(want=-1, apply=False, recheck_after_s=630.0),
    ),
    (
        "an activation that took too long is given up",
        step(0, Activity(status="Unknown", for_s=631)),
        ScaleStep(want=0, apply=True),
    ),
    (
        "where activation never times out nothing is rechecked",
        step(0, Activity(status="Unknown", for_s=1e6), activation_timeout_s=math.inf),
        ScaleStep(want=-1, apply=False),
    ),
    (
        "active for less than the stable window shrinks to one pod",
        step(0, ACTIVE),
        ScaleStep(want=1, apply=True, recheck_after_s=50.0),
    ),
    ("active long enough is marked inactive and not yet scaled", step(0, LONG_ACTIVE), ScaleStep(want=0, apply=False)),
    (
        "already proxied it looks again soon",
        step(0, LONG_ACTIVE, proxied=True),
        ScaleStep(want=0, apply=False, recheck_after_s=3.0),
    ),
    (
        "while pods are still addressed the last one stays",
        step(0, INACTIVE, activator_in_path=lambda: False),
        ScaleStep(want=0, apply=False, recheck_after_s=1.0),
    ),
    (
        "the grace period counts from the switch to the activator",
        step(0, INACTIVE, proxied_for_s=10),
        ScaleStep(want=0, apply=False, recheck_after_s=20.0),
    ),
    ("proxied for the grace period it goes", step(0, INACTIVE, proxied_for_s=30), ScaleStep(want=0, apply=True)),
    (
        "inactive for the grace period it goes",
        step(0, Activity(status="False", for_s=30)),
        ScaleStep(want=0, apply=True),
    ),
    (
        "the retention period holds the last pod",
        step(0, INACTIVE, retention_s=90, proxied_for_s=30),
        ScaleStep(want=0, apply=False, recheck_after_s=85.0),
    ),
    (
        "a short retention ends before the grace period",
        step(0, INACTIVE, retention_s=4, proxied_for_s=30),
        ScaleStep(want=0, apply=True),
    ),
    ("a scale above zero never probes", step(2, INACTIVE, activator_in_path=unasked), ScaleStep(want=2, apply=True)),
    (
        "deactivation does not probe",
        step(0, LONG_ACTIVE, activator_in_path=unasked),
        ScaleStep(want=0, apply=False),
    ),
]


@pytest.mark.parametrize(("got", "want"), [pytest.param(got, want, id=name) for name, got, want in CASES])
def test_scale_step(got: ScaleStep, want: ScaleStep) -> None:
    assert got == want
