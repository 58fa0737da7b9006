"""Knative's Decider: what one evaluation of a revision reads and returns (pkg/autoscaler/scaling)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import msgspec

ScalingMetric = Literal["concurrency", "rps"]
Aggregation = Literal["linear", "weighted-exponential"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeciderSpec:
    """The parameters of one evaluation; knative/serving pkg/reconciler/autoscaling/kpa/resources/decider.go."""

    max_scale_up_rate: float
    max_scale_down_rate: float
    activator_capacity: float
    scaling_metric: ScalingMetric
    aggregation: Aggregation = "linear"
    target_value: float
    total_value: float
    target_burst_capacity: float
    panic_threshold: float
    stable_window_s: float
    panic_window_s: float
    scale_down_delay_s: float
    initial_scale: int
    activation_scale: int
    reachable: bool


class ScaleResult(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Outcome of one evaluation; ``valid`` False means "no opinion": nothing may change."""

    desired_pods: int
    excess_burst_capacity: int
    valid: bool
    panicking: bool = False
    stable: float = 0.0
    panic: float = 0.0
