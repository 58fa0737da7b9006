"""Go's structs of a recording as our nouns."""

from __future__ import annotations

from typing import Any, cast

from hasgpu.model.decider import DeciderSpec, ScalingMetric
from hasgpu.model.keys import RevisionKey
from hasgpu.model.load import StatMessage
from hasgpu.settings.autoscaler import AutoscalerSettings

Go = dict[str, Any]


def settings(config: Go) -> AutoscalerSettings:
    """autoscalerconfig.Config, whose zero values the recording leaves out."""
    return AutoscalerSettings(
        container_concurrency_target_fraction=config.get("ContainerConcurrencyTargetFraction", 0.0),
        container_concurrency_target_default=config.get("ContainerConcurrencyTargetDefault", 0.0),
        requests_per_second_target_default=config.get("RPSTargetDefault", 0.0),
        target_burst_capacity=config.get("TargetBurstCapacity", 0.0),
        stable_window_s=config.get("StableWindow", 0) / 1e9,
        panic_window_percentage=config.get("PanicWindowPercentage", 0.0),
        panic_threshold_percentage=config.get("PanicThresholdPercentage", 0.0),
        max_scale_up_rate=config.get("MaxScaleUpRate", 0.0),
        max_scale_down_rate=config.get("MaxScaleDownRate", 0.0),
        enable_scale_to_zero=config.get("EnableScaleToZero", False),
        scale_to_zero_grace_period_s=config.get("ScaleToZeroGracePeriod", 0) / 1e9,
        scale_to_zero_pod_retention_period_s=config.get("ScaleToZeroPodRetentionPeriod", 0) / 1e9,
        scale_down_delay_s=config.get("ScaleDownDelay", 0) / 1e9,
        pod_autoscaler_class=config.get("PodAutoscalerClass", ""),
        activator_capacity=config.get("ActivatorCapacity", 0.0),
        initial_scale=config.get("InitialScale", 0),
        allow_zero_initial_scale=config.get("AllowZeroInitialScale", False),
        min_scale=config.get("MinScale", 0),
        max_scale=config.get("MaxScale", 0),
        max_scale_limit=config.get("MaxScaleLimit", 0),
    )


def decider_spec(spec: Go, delay_s: float) -> DeciderSpec:
    """scaling.DeciderSpec; a metric that is not rps behaves as concurrency."""
    return DeciderSpec(
        max_scale_up_rate=spec["MaxScaleUpRate"],
        max_scale_down_rate=spec["MaxScaleDownRate"],
        activator_capacity=spec["ActivatorCapacity"],
        scaling_metric=cast("ScalingMetric", "rps" if spec["ScalingMetric"] == "rps" else "concurrency"),
        target_value=spec["TargetValue"],
        total_value=spec["TotalValue"],
        target_burst_capacity=spec["TargetBurstCapacity"],
        panic_threshold=spec["PanicThreshold"],
        stable_window_s=spec["StableWindow"] / 1e9,
        panic_window_s=0.0,
        scale_down_delay_s=delay_s,
        initial_scale=spec["InitialScale"],
        activation_scale=spec["ActivationScale"],
        reachable=spec["Reachable"],
    )


def message(stat: Go) -> StatMessage:
    """metrics.Stat."""
    return StatMessage(
        key=RevisionKey("n", "r"),
        pod_name="p",
        average_concurrent_requests=stat["concurrency"],
        average_proxied_concurrent_requests=stat["proxiedConcurrency"],
        request_count=stat["requests"],
        proxied_request_count=stat["proxiedRequests"],
        process_uptime_s=0.0,
        timestamp_s=0.0,
    )
