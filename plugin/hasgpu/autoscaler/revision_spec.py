"""Process autoscaler: what a PodAutoscaler asks for: its annotations over config-autoscaler. Pure.

A value that does not parse counts as absent, as in Knative: its webhook has refused what it could refuse.
Reference: knative/serving pkg/apis/autoscaling/v1alpha1/pa_lifecycle.go and pkg/reconciler/autoscaling/kpa/resources.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cache
from typing import TypeVar

from hasgpu.cluster.knative import MetricSpec, PodAutoscaler
from hasgpu.decision.pod_scale import ScaleBounds, ZeroPolicy
from hasgpu.decision.windows import BUCKET_S
from hasgpu.model.annotations import CLASS, KPA_CLASS, PROGRESS_DEADLINE
from hasgpu.model.annotations import METRIC as METRIC_KEY
from hasgpu.model.decider import Aggregation, DeciderSpec
from hasgpu.model.go_values import parse_float, parse_int32, round_half_away, within_int32
from hasgpu.model.quantity import parse_duration_s
from hasgpu.settings.autoscaler import TARGET_MIN, AutoscalerSettings
from hasgpu.settings.knative import DeploymentSettings

T = TypeVar("T")

_PREFIX = "autoscaling.knative.dev/"
MIN_ACTIVATORS = 2
_ACTIVATION_BUFFER_S = 30.0
RPS_UTILIZATION = 0.7
_NS = 10**9
_WITHOUT_ALIAS = ("activation-scale", "target", "window")
_WEIGHTED = ("weighted-exponential", "weightedExponential")


def scaling_class(pa: PodAutoscaler) -> str:
    """The class; Knative's own where none is named."""
    return pa.metadata.annotations.get(CLASS, KPA_CLASS)


def reachable(pa: PodAutoscaler) -> bool:
    """False where no route points at the revision; unknown counts as reachable."""
    return pa.spec.reachability != "Unreachable"


def decider_spec(pa: PodAutoscaler, settings: AutoscalerSettings) -> DeciderSpec:
    """The parameters of the scale algorithm."""
    target, total = _target_and_total(pa, settings)
    metric = _metric_spec(pa, settings, "")
    return DeciderSpec(
        max_scale_up_rate=settings.max_scale_up_rate,
        max_scale_down_rate=settings.max_scale_down_rate,
        activator_capacity=settings.activator_capacity,
        scaling_metric="rps" if _metric(pa) == "rps" else "concurrency",
        aggregation=aggregation(pa.metadata.annotations),
        target_value=target,
        total_value=total,
        target_burst_capacity=target_burst_capacity(pa, settings),
        panic_threshold=_or(_number(pa, "panic-threshold-percentage"), settings.panic_threshold_percentage) / 100.0,
        stable_window_s=stable_window_s(pa, settings),
        panic_window_s=metric.panic_window_ns / _NS,
        scale_down_delay_s=_or(_duration_s(pa, "scale-down-delay"), settings.scale_down_delay_s),
        initial_scale=initial_scale(pa, settings),
        activation_scale=_or(_integer(pa, "activation-scale"), 0),
        reachable=reachable(pa),
    )


def bounds(pa: PodAutoscaler, settings: AutoscalerSettings) -> ScaleBounds:
    """min-scale (none for an unreachable revision), max-scale and the initial scale."""
    least = _or(_integer(pa, "min-scale"), settings.min_scale) if reachable(pa) else 0
    return ScaleBounds(
        least=least,
        most=_or(_integer(pa, "max-scale"), settings.max_scale),
        initial=initial_scale(pa, settings),
        reachable=reachable(pa),
    )


def zero_policy(
    pa: PodAutoscaler, settings: AutoscalerSettings, deployment: DeploymentSettings, *, activation_times_out: bool
) -> ZeroPolicy:
    """When the last pod may go."""
    own_deadline_s = _parsed(pa.metadata.annotations, parse_duration_s, PROGRESS_DEADLINE)
    deadline_s = _or(own_deadline_s, deployment.progress_deadline_s)
    retention_s = _or(
        _duration_s(pa, "scale-to-zero-pod-retention-period"), settings.scale_to_zero_pod_retention_period_s
    )
    return ZeroPolicy(
        enabled=settings.enable_scale_to_zero,
        activation_timeout_s=deadline_s + _ACTIVATION_BUFFER_S if activation_times_out else math.inf,
        stable_window_s=stable_window_s(pa, settings),
        grace_period_s=settings.scale_to_zero_grace_period_s,
        retention_s=retention_s if reachable(pa) else 0.0,
    )


def metric_spec(pa: PodAutoscaler, settings: AutoscalerSettings, private_service: str) -> MetricSpec:
    """The Metric object's spec. With an unlimited burst all traffic is reported by activators: nothing is scraped."""
    unlimited = target_burst_capacity(pa, settings) == -1
    return _metric_spec(pa, settings, "" if unlimited else private_service)


def _metric_spec(pa: PodAutoscaler, settings: AutoscalerSettings, scrape_target: str) -> MetricSpec:
    stable_s = stable_window_s(pa, settings)
    percentage = _or(_number(pa, "panic-window-percentage"), settings.panic_window_percentage)
    # Go rounds a Duration, that is whole nanoseconds, to whole seconds.
    panic_s = round_half_away(int(stable_s * _NS * percentage / 100.0) / _NS)
    return MetricSpec(
        stable_window_ns=round(stable_s * _NS),
        panic_window_ns=max(panic_s, BUCKET_S) * _NS,
        scrape_target=scrape_target,
    )


def stable_window_s(pa: PodAutoscaler, settings: AutoscalerSettings) -> float:
    """Over which the load is averaged, and for which a revision stays active after its last request."""
    return _or(_duration_s(pa, "window"), settings.stable_window_s)


def target_burst_capacity(pa: PodAutoscaler, settings: AutoscalerSettings) -> float:
    """The burst that is to be absorbed without queueing in the activator; -1: unlimited."""
    return _or(_number(pa, "target-burst-capacity"), settings.target_burst_capacity)


def initial_scale(pa: PodAutoscaler, settings: AutoscalerSettings) -> int:
    """Pods that a new revision must reach once; 0 only where the cluster allows it."""
    wished = _integer(pa, "initial-scale")
    if wished is None or (wished == 0 and not settings.allow_zero_initial_scale):
        return settings.initial_scale
    return wished


def aggregation(annotations: Mapping[str, str]) -> Aggregation:
    """How a window weighs its buckets."""
    text = _first(annotations, "metric-aggregation-algorithm")
    return "weighted-exponential" if text in _WEIGHTED else "linear"


def activators(spec: DeciderSpec, ready_pods: int) -> int:
    """Activators that share a revision's traffic: enough for what its pods take and for the burst."""
    if spec.target_burst_capacity == 0:
        return MIN_ACTIVATORS
    to_cover = ready_pods * spec.total_value + max(spec.target_burst_capacity, 0.0)
    return max(MIN_ACTIVATORS, math.ceil(within_int32(to_cover / spec.activator_capacity)))


def _target_and_total(pa: PodAutoscaler, settings: AutoscalerSettings) -> tuple[float, float]:
    """Load per pod that is aimed at, and that a pod can take."""
    metric, concurrency = _metric(pa), pa.spec.container_concurrency
    if metric == "rps":
        total, utilization = settings.requests_per_second_target_default, RPS_UTILIZATION
    else:
        total = float(concurrency) or settings.container_concurrency_target_default
        utilization = settings.container_concurrency_target_fraction
    wished = _number(pa, "target")
    if wished is not None:
        total = wished
        if metric == "concurrency" and concurrency != 0:
            total = min(wished, float(concurrency))
    percentage = _number(pa, "target-utilization-percentage")
    if percentage is not None:
        utilization = percentage / 100
    return max(TARGET_MIN, total * utilization), total


def _metric(pa: PodAutoscaler) -> str:
    return pa.metadata.annotations.get(METRIC_KEY, "concurrency" if scaling_class(pa) == KPA_CLASS else "")


def _integer(pa: PodAutoscaler, name: str) -> int | None:
    return _parsed(pa.metadata.annotations, parse_int32, *_keys(name))


def _number(pa: PodAutoscaler, name: str) -> float | None:
    return _parsed(pa.metadata.annotations, parse_float, *_keys(name))


def _duration_s(pa: PodAutoscaler, name: str) -> float | None:
    return _parsed(pa.metadata.annotations, parse_duration_s, *_keys(name))


@cache
def _keys(name: str) -> tuple[str, ...]:
    """The key and its older camel-case form: ``min-scale``, ``minScale``."""
    first, *rest = name.split("-")
    if name in _WITHOUT_ALIAS:
        return (_PREFIX + name,)
    return _PREFIX + name, _PREFIX + first + "".join(word.capitalize() for word in rest)


def _first(annotations: Mapping[str, str], name: str) -> str | None:
    return next((annotations[key] for key in _keys(name) if key in annotations), None)


def _parsed(annotations: Mapping[str, str], parse: Callable[[str], T], *keys: str) -> T | None:
    for key in keys:
        if key in annotations:
            try:
                return parse(annotations[key])
            except ValueError:
                return None
    return None


def _or(value: T | None, default: T) -> T:
    return default if value is None else value
