"""Settings: Knative's config-autoscaler, with Knative's defaults and rules (pkg/autoscaler/config/config.go)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hasgpu.model.annotations import KPA_CLASS

from .texts import Texts

NAME = "config-autoscaler"

TARGET_MIN = 0.01
WINDOW_MIN_S = 6.0
WINDOW_MAX_S = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AutoscalerSettings:
    """What applies where a revision says nothing itself."""

    container_concurrency_target_fraction: float = 0.7
    container_concurrency_target_default: float = 100.0
    requests_per_second_target_default: float = 200.0
    target_burst_capacity: float = 211.0
    stable_window_s: float = 60.0
    panic_window_percentage: float = 10.0
    panic_threshold_percentage: float = 200.0
    max_scale_up_rate: float = 1000.0
    max_scale_down_rate: float = 2.0
    enable_scale_to_zero: bool = True
    scale_to_zero_grace_period_s: float = 30.0
    scale_to_zero_pod_retention_period_s: float = 0.0
    scale_down_delay_s: float = 0.0
    pod_autoscaler_class: str = KPA_CLASS
    activator_capacity: float = 100.0
    initial_scale: int = 1
    allow_zero_initial_scale: bool = False
    min_scale: int = 0
    max_scale: int = 0
    max_scale_limit: int = 0


def parse_autoscaler(data: Mapping[str, str]) -> AutoscalerSettings:
    """The settings, or a SettingsError."""
    texts = Texts(NAME, data)
    default = AutoscalerSettings()
    settings = AutoscalerSettings(
        container_concurrency_target_fraction=_target_fraction(texts),
        container_concurrency_target_default=texts.number("container-concurrency-target-default", 100.0),
        requests_per_second_target_default=texts.number("requests-per-second-target-default", 200.0),
        target_burst_capacity=texts.number("target-burst-capacity", 211.0),
        stable_window_s=texts.duration_s("stable-window", 60.0),
        panic_window_percentage=texts.number("panic-window-percentage", 10.0),
        panic_threshold_percentage=texts.number("panic-threshold-percentage", 200.0),
        max_scale_up_rate=texts.number("max-scale-up-rate", 1000.0),
        max_scale_down_rate=texts.number("max-scale-down-rate", 2.0),
        enable_scale_to_zero=texts.boolean("enable-scale-to-zero", True),
        scale_to_zero_grace_period_s=texts.duration_s("scale-to-zero-grace-period", 30.0),
        scale_to_zero_pod_retention_period_s=texts.duration_s("scale-to-zero-pod-retention-period", 0.0),
        scale_down_delay_s=texts.duration_s("scale-down-delay", 0.0),
        pod_autoscaler_class=texts.text("pod-autoscaler-class", default.pod_autoscaler_class),
        activator_capacity=texts.number("activator-capacity", 100.0),
        initial_scale=texts.int32("initial-scale", 1),
        allow_zero_initial_scale=texts.boolean("allow-zero-initial-scale", False),
        min_scale=texts.int32("min-scale", 0),
        max_scale=texts.int32("max-scale", 0),
        max_scale_limit=texts.int32("max-scale-limit", 0),
    )
    _check_load(texts, settings)
    _check_windows(texts, settings)
    _check_scale(texts, settings)
    return settings


def _target_fraction(texts: Texts) -> float:
    """70 and 0.7 mean the same: for legacy reasons values up to 1.0 are fractions already."""
    value = texts.number("container-concurrency-target-percentage", 70.0)
    return value / 100.0 if value > 1.0 else value


def _check_load(texts: Texts, settings: AutoscalerSettings) -> None:
    fraction, burst = settings.container_concurrency_target_fraction, settings.target_burst_capacity
    least = f"must be at least {TARGET_MIN}"
    texts.require(0 < fraction <= 1, "container-concurrency-target-percentage", "must be in (0, 100]")
    texts.require(
        fraction * settings.container_concurrency_target_default >= TARGET_MIN,
        "container-concurrency-target-default",
        f"times container-concurrency-target-percentage {least}",
    )
    texts.require(
        settings.requests_per_second_target_default >= TARGET_MIN, "requests-per-second-target-default", least
    )
    texts.require(burst >= 0 or burst == -1, "target-burst-capacity", "must be non-negative, or -1 for unlimited")
    texts.require(settings.activator_capacity >= 1, "activator-capacity", "must be at least 1")
    texts.require(settings.max_scale_up_rate > 1, "max-scale-up-rate", "must be greater than 1.0")
    texts.require(settings.max_scale_down_rate > 1, "max-scale-down-rate", "must be greater than 1.0")


def _check_windows(texts: Texts, settings: AutoscalerSettings) -> None:
    whole = "must be whole seconds"
    window_s, delay_s = settings.stable_window_s, settings.scale_down_delay_s
    texts.require(settings.scale_to_zero_grace_period_s > 0, "scale-to-zero-grace-period", "must be positive")
    texts.require(delay_s >= 0, "scale-down-delay", "cannot be negative")
    texts.require(delay_s == int(delay_s), "scale-down-delay", whole)
    texts.require(
        settings.scale_to_zero_pod_retention_period_s >= 0, "scale-to-zero-pod-retention-period", "cannot be negative"
    )
    texts.require(WINDOW_MIN_S <= window_s <= WINDOW_MAX_S, "stable-window", "must be in [6s; 1h]")
    texts.require(window_s == int(window_s), "stable-window", whole)
    texts.require(1 <= settings.panic_window_percentage <= 100, "panic-window-percentage", "must be in [1, 100]")


def _check_scale(texts: Texts, settings: AutoscalerSettings) -> None:
    low, high, limit = settings.min_scale, settings.max_scale, settings.max_scale_limit
    least = 0 if settings.allow_zero_initial_scale else 1
    texts.require(settings.initial_scale >= least, "initial-scale", f"must be at least {least}")
    texts.require(low >= 0, "min-scale", "must be at least 0")
    texts.require(high >= (1 if limit > 0 else 0), "max-scale", "must be at least 1 where there is a max-scale-limit")
    texts.require(limit <= 0 or high <= limit, "max-scale", f"must be at most max-scale-limit ({limit})")
    texts.require(limit >= 0, "max-scale-limit", "must be at least 0")
    texts.require(low <= high or high <= 0, "min-scale", f"must be at most max-scale ({high})")
