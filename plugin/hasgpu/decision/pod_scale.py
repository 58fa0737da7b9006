"""From the pods an algorithm desires to the pods to ask for now: bounds, initial scale, the way to zero. Pure.

Reference: knative/serving pkg/reconciler/autoscaling/kpa/scaler.go. Both classes take this way; they differ in
where ``desired`` comes from and in whether an activation may time out.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

UNKNOWN = -1
_PROXY_RECHECK_S = 3.0
_PROBE_RECHECK_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleBounds:
    """Pods allowed; ``most`` 0 means no bound."""

    least: int
    most: int
    initial: int
    reachable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ZeroPolicy:
    """When an idle revision may lose its last pod."""

    enabled: bool
    activation_timeout_s: float
    """Infinite where activation never times out."""
    stable_window_s: float
    grace_period_s: float
    retention_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Activity:
    """The PA's Active condition and for how long it has said so."""

    status: Literal["True", "False", "Unknown"]
    for_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleStep:
    """Pods wanted (-1: unknown), whether the target's replicas are set to it, and when to look again."""

    want: int
    apply: bool
    recheck_after_s: float | None = None


def bounded(desired: int, bounds: ScaleBounds, *, initialized: bool) -> int:
    """``desired`` within the bounds; before the initial scale was reached once, not below that either."""
    least = bounds.least
    if bounds.initial > 1 and not initialized and bounds.reachable:
        least = max(bounds.initial, least)
    if desired < least:
        return least
    if bounds.most != 0 and desired > bounds.most:
        return bounds.most
    return desired


def scale_step(
    desired: int,
    *,
    bounds: ScaleBounds,
    policy: ZeroPolicy,
    activity: Activity,
    initialized: bool,
    proxied: bool,
    proxied_for_s: float,
    activator_in_path: Callable[[], bool],
) -> ScaleStep:
    """What to ask for now. ``activator_in_path`` is called only where the answer matters: it costs a request."""
    if desired < 0 and activity.status != "Unknown":
        return ScaleStep(want=desired, apply=False)
    desired = bounded(desired, bounds, initialized=initialized)
    if desired != 0:
        return ScaleStep(want=desired, apply=True)
    if not policy.enabled:
        return ScaleStep(want=1, apply=True)
    if activity.status == "Unknown":
        return _give_up_activating(policy, activity)
    if activity.status == "True":
        return _deactivate(policy, activity, proxied)
    if not activator_in_path():
        return ScaleStep(want=0, apply=False, recheck_after_s=_PROBE_RECHECK_S)
    return _drop_last_pod(policy, activity, proxied_for_s)


def _give_up_activating(policy: ZeroPolicy, activity: Activity) -> ScaleStep:
    if activity.for_s > policy.activation_timeout_s:
        return ScaleStep(want=0, apply=True)
    recheck_s = None if math.isinf(policy.activation_timeout_s) else policy.activation_timeout_s
    return ScaleStep(want=UNKNOWN, apply=False, recheck_after_s=recheck_s)


def _deactivate(policy: ZeroPolicy, activity: Activity, proxied: bool) -> ScaleStep:
    """Shrink to one pod while active for less than the stable window; then mark inactive, scaling nothing yet."""
    if activity.for_s < policy.stable_window_s:
        return ScaleStep(want=1, apply=True, recheck_after_s=policy.stable_window_s - activity.for_s)
    return ScaleStep(want=0, apply=False, recheck_after_s=_PROXY_RECHECK_S if proxied else None)


def _drop_last_pod(policy: ZeroPolicy, activity: Activity, proxied_for_s: float) -> ScaleStep:
    if activity.for_s >= max(policy.grace_period_s, policy.retention_s):
        return ScaleStep(want=0, apply=True)
    if policy.retention_s > 0 and activity.for_s < policy.retention_s:
        return ScaleStep(want=0, apply=False, recheck_after_s=policy.retention_s - activity.for_s)
    grace_left_s = policy.grace_period_s - proxied_for_s
    if grace_left_s <= 0:
        return ScaleStep(want=0, apply=True)
    return ScaleStep(want=0, apply=False, recheck_after_s=grace_left_s)
