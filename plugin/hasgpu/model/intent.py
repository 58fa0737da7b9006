"""What a user asked for by annotations (design §3), validated in one place for webhook and autoscaler."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from . import annotations as keys
from .quantity import parse_bytes, parse_duration_s
from .units import QuotaBounds, SmPartition, TimeQuota

Scaling = Literal["hybrid", "fixed"]

DEFAULT_PERCENTILE = 95.0
DEFAULT_QUOTA = QuotaBounds(low=TimeQuota(5), high=TimeQuota(100))
_PERCENT = re.compile(r"(\d{1,3})%\Z")
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?\Z")
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuIntent:
    """A revision's wishes. ``None`` means "choose for me": SM partition auto, memory of the profile."""

    slo_latency_s: float | None
    slo_percentile: float
    profile: str
    sm_partition: SmPartition | None
    quota: QuotaBounds
    memory_bytes: int | None
    batch_size: int
    gpu_product: str | None
    gpu_containers: tuple[str, ...]
    gpu_processes: int
    scaling: Scaling


class IntentError(ValueError):
    """The annotations cannot be obeyed; ``problems`` has one sentence for each, naming key and value."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


def opted_in(annotations: Mapping[str, str]) -> bool:
    """True where any key of ours is present: one is enough to be a GPU service."""
    return any(key.startswith(keys.USER_PREFIX) for key in annotations)


def parse_intent(annotations: Mapping[str, str], default_profile: str) -> GpuIntent:
    """The intent of a template's annotations; ``default_profile`` is the service's name.

    Raises IntentError with every problem at once.
    """
    reader = _Reader(annotations)
    scaling: Scaling = "fixed" if reader.choice(keys.SCALING, ("hybrid", "fixed")) == "fixed" else "hybrid"
    intent = GpuIntent(
        slo_latency_s=reader.slo_latency(),
        slo_percentile=reader.percentile(),
        profile=reader.name(keys.PROFILE, default_profile),
        sm_partition=reader.sm_partition(),
        quota=reader.quota(),
        memory_bytes=reader.memory(),
        batch_size=reader.integer(keys.BATCH_SIZE, 1, 64, 1),
        gpu_product=annotations.get(keys.GPU_PRODUCT) or None,
        gpu_containers=reader.names(keys.GPU_CONTAINERS),
        gpu_processes=reader.integer(keys.GPU_PROCESSES, 1, 16, 1),
        scaling=scaling,
    )
    reader.check_unknown()
    reader.check_scaling(intent)
    if reader.problems:
        raise IntentError(tuple(reader.problems))
    return intent


class _Reader:
    """Reads one key at a time and gathers the problems instead of stopping at the first."""

    def __init__(self, annotations: Mapping[str, str]) -> None:
        self.annotations = annotations
        self.problems: list[str] = []

    def problem(self, key: str, allowed: str) -> None:
        self.problems.append(f"{key}={self.annotations.get(key, '')!r} is not allowed: {allowed}")

    def slo_latency(self) -> float | None:
        text = self.annotations.get(keys.SLO_LATENCY)
        if text is None:
            return None
        try:
            seconds = parse_duration_s(text)
        except ValueError:
            seconds = -1.0
        if not 0.001 <= seconds <= 3600:
            self.problem(keys.SLO_LATENCY, 'a duration from "1ms" to "1h" such as "200ms"')
        return seconds

    def percentile(self) -> float:
        text = self.annotations.get(keys.SLO_PERCENTILE)
        if text is None:
            return DEFAULT_PERCENTILE
        if re.match(r"\d{2}(\.\d{1,3})?\Z", text) and 50 <= float(text) <= 99.9:
            return float(text)
        self.problem(keys.SLO_PERCENTILE, 'a number from 50 to 99.9 such as "95"')
        return DEFAULT_PERCENTILE

    def percent(self, text: str) -> int | None:
        match = _PERCENT.match(text)
        return int(match[1]) if match and int(match[1]) <= 100 else None

    def sm_partition(self) -> SmPartition | None:
        text = self.annotations.get(keys.SM_PARTITION, "auto")
        if text == "auto":
            return None
        percent = self.percent(text)
        if percent is None or percent < 1:
            self.problem(keys.SM_PARTITION, '"auto" or a whole percent from "1%" to "100%"')
            return None
        return SmPartition(percent)

    def quota(self) -> QuotaBounds:
        text = self.annotations.get(keys.TIME_QUOTA, "auto")
        if text == "auto":
            return DEFAULT_QUOTA
        low, dash, high = text.partition("-")
        bounds = (self.percent(low), self.percent(high if dash else low))
        try:
            if bounds[0] is None or bounds[1] is None:
                raise ValueError
            return QuotaBounds(low=TimeQuota(bounds[0]), high=TimeQuota(bounds[1]))
        except ValueError:
            self.problem(
                keys.TIME_QUOTA,
                '"auto", one percent from "5%" to "100%", or bounds such as "10%-100%" (a lower bound of "0%"'
                " allows parked pods)",
            )
            return DEFAULT_QUOTA

    def memory(self) -> int | None:
        text = self.annotations.get(keys.GPU_MEMORY)
        if text is None:
            return None
        try:
            value = parse_bytes(text)
        except ValueError:
            value = 0
        if value < 1 << 20:
            self.problem(keys.GPU_MEMORY, 'a quantity of at least "1Mi" such as "4Gi"')
        return value

    def integer(self, key: str, low: int, high: int, default: int) -> int:
        text = self.annotations.get(key)
        if text is None:
            return default
        if re.match(r"\d{1,3}\Z", text) and low <= int(text) <= high:
            return int(text)
        self.problem(key, f'a whole number from "{low}" to "{high}"')
        return default

    def choice(self, key: str, allowed: tuple[str, ...]) -> str:
        text = self.annotations.get(key, allowed[0])
        if text not in allowed:
            self.problem(key, " or ".join(f'"{value}"' for value in allowed))
        return text

    def name(self, key: str, default: str) -> str:
        text = self.annotations.get(key, default)
        if not _NAME.match(text):
            self.problem(key, "the name of a LatencyProfile in the service's namespace")
        return text

    def names(self, key: str) -> tuple[str, ...]:
        text = self.annotations.get(key)
        if text is None:
            return ()
        names = tuple(part.strip() for part in text.split(","))
        if not all(_LABEL.match(name) for name in names):
            self.problem(key, "container names separated by commas")
        return names

    def check_unknown(self) -> None:
        for key in sorted(self.annotations):
            if key.startswith(keys.SLICE_PREFIX):
                self.problems.append(f"{key} is written by the allocator on pods and may not be set on a template")
            elif key.startswith(keys.USER_PREFIX) and key not in keys.USER_KEYS:
                self.problems.append(_unknown_key(key))

    def check_scaling(self, intent: GpuIntent) -> None:
        if intent.scaling == "hybrid":
            if intent.slo_latency_s is None:
                self.problems.append(f'{keys.SLO_LATENCY} is required, for example "200ms"')
            return
        if intent.sm_partition is None:
            self.problem(keys.SM_PARTITION, f'an explicit percent, since {keys.SCALING} is "fixed"')
        if intent.quota.low != intent.quota.high:
            self.problem(keys.TIME_QUOTA, f'one percent such as "30%", since {keys.SCALING} is "fixed"')


def _unknown_key(key: str) -> str:
    if key.endswith("-") and key[:-1] in keys.USER_KEYS:
        return (
            f'{key} is not a key: "--annotation-revision {key}" does not remove {key[:-1]}, kn adds the key with'
            f' its dash; remove it with "--annotation {key}"'
        )
    return f"{key} is not a key of hasgpu; known keys are {', '.join(sorted(keys.USER_KEYS))}"
