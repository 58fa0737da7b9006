"""Knative's scale algorithm: stable and panic load in, pods and excess burst capacity out. Pure; told the time.

Reference: knative/serving pkg/autoscaler/scaling/autoscaler.go. Bounds of min-scale and max-scale are applied
later (``decision.pod_scale``), so the panic maximum may exceed max-scale, as upstream.
"""

from __future__ import annotations

import math

from hasgpu.model.decider import DeciderSpec, ScaleResult
from hasgpu.model.go_values import within_int32

from .delay_window import DelayWindow

TICK_S = 2


class KpaScaler:
    """The state of one revision's autoscaling: panic since when, the panic maximum, the delay window.

    It starts in panic where more than one pod is ready: a restarted autoscaler has lost its load history and
    must not scale down on that ground.
    """

    __slots__ = ("_delay", "_max_panic_pods", "_panic_since")

    def __init__(self, spec: DeciderSpec, ready_pods: int, now: float) -> None:
        self._panic_since: float | None = now if ready_pods > 1 else None
        self._max_panic_pods = ready_pods
        self._delay = DelayWindow(spec.scale_down_delay_s, TICK_S) if spec.scale_down_delay_s > 0 else None

    def scale(self, spec: DeciderSpec, now: float, ready_pods: int, stable: float, panic: float) -> ScaleResult:
        """One evaluation. ``stable`` and ``panic`` are the metric's averages over the two windows."""
        ready = max(1.0, float(ready_pods))
        wanted_stable = math.ceil(stable / spec.target_value)
        wanted_panic = math.ceil(panic / spec.target_value)
        desired = _limited(spec, ready, wanted_stable)
        self._update_panic(spec, now, wanted_panic / ready >= spec.panic_threshold)
        if self._panic_since is not None:
            # The stable value may be the larger one, and in panic pods are only added.
            desired = max(desired, _limited(spec, ready, wanted_panic))
            self._max_panic_pods = desired = max(self._max_panic_pods, desired)
        if spec.reachable and self._delay is not None:
            self._delay.record(now, desired)
            desired = self._delay.current()
        return ScaleResult(
            desired_pods=desired,
            excess_burst_capacity=_excess_burst_capacity(spec, ready_pods, panic),
            valid=True,
            panicking=self._panic_since is not None,
            stable=stable,
            panic=panic,
        )

    def _update_panic(self, spec: DeciderSpec, now: float, over_threshold: bool) -> None:
        if over_threshold:
            self._panic_since = now
        elif self._panic_since is not None and self._panic_since + spec.stable_window_s < now:
            # Only now has the surge made its way into the stable average.
            self._panic_since = None
            self._max_panic_pods = 0


def _limited(spec: DeciderSpec, ready: float, wanted: int) -> int:
    """``wanted`` within the rate limits, raised to the activation scale where there is any load.

    The ceil lets every revision grow by at least one pod: at rate 1.1 and 2 ready pods the limit is 3, not 2.2.
    """
    most = math.ceil(within_int32(spec.max_scale_up_rate * ready))
    least = math.floor(ready / spec.max_scale_down_rate) if spec.reachable else 0
    limited = min(max(wanted, least), most)
    if spec.activation_scale > 1 and wanted > 0:
        return max(limited, spec.activation_scale)
    return limited


def _excess_burst_capacity(spec: DeciderSpec, ready_pods: int, panic: float) -> int:
    """How much load beyond the present the ready pods could take at once; negative keeps the activator in path."""
    if spec.target_burst_capacity == 0:
        return 0
    if spec.target_burst_capacity < 0:
        return -1
    return math.floor(within_int32(ready_pods * spec.total_value - spec.target_burst_capacity - panic))
