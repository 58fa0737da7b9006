"""Process simulator: what rivals think a slice can do: so much of the time its latency leaves. No queueing theory.

A slice whose lone latency misses the SLO can do nothing; of batches it forms the best that meet it. The figures come
from the same profile as ours, and what the function asks for (partition, quota bounds) binds them as it does ours.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from hasgpu.prediction.capacity import SM_PERCENTS, batch_sizes
from hasgpu.prediction.quota_law import mean_latency_s
from hasgpu.prediction.surface import Surface
from hasgpu.simulator.believed import Belief, surface_of
from hasgpu.simulator.functions_file import FunctionSpec


@dataclass(frozen=True, slots=True)
class Sizing:
    """A rival's knobs for what a slice can do."""

    utilisation: float
    slack: float
    """The part of the time an SLO leaves that a lone inference may take: a mean says nothing of a percentile."""


@dataclass(frozen=True, slots=True)
class Throughput:
    """Requests/s by slice of one function at a target utilisation."""

    surface: Surface
    belief: Belief
    spec: FunctionSpec
    sizing: Sizing
    _known: dict[tuple[int, int], float] = field(default_factory=dict)

    def per_s(self, sm_percent: int, quota_percent: int) -> float:
        """Requests/s within the SLO, as far as a mean tells."""
        if quota_percent < 5:
            return 0.0
        slice_ = (sm_percent, quota_percent)
        if slice_ not in self._known:
            limit_s = self.sizing.slack * (self.spec.slo_s - self.spec.overhead_s)
            taken = ((batch, self._latency_s(batch, *slice_)) for batch in batch_sizes(self.spec.intent.batch_size))
            best = max((batch / taken_s for batch, taken_s in taken if taken_s <= limit_s), default=0.0)
            self._known[slice_] = self.sizing.utilisation * best
        return self._known[slice_]

    def best_unit(self, *choices: tuple[int, ...]) -> tuple[int, int]:
        """The slice with the most requests/s for its SM x quota, of the first choice of quotas that has one which
        meets the SLO; the largest where none has."""
        for quotas in choices:
            worth = [
                (self.per_s(sm, quota) / (sm * quota), -sm, -quota)
                for sm in self.sm_percents
                for quota in self.within(quotas)
            ]
            best = max(worth, default=(0.0, 0, 0))
            if best[0] > 0.0:
                return (-best[1], -best[2])
        return largest(self.spec)

    @property
    def sm_percents(self) -> tuple[int, ...]:
        """What a pod may have."""
        asked = self.spec.intent.sm_partition
        return SM_PERCENTS if asked is None else (asked.percent,)

    def within(self, quotas: tuple[int, ...]) -> list[int]:
        """Quotas, moved into the function's bounds."""
        return sorted({allowed(self.spec, quota) for quota in quotas})

    def _latency_s(self, batch: int, sm_percent: int, quota_percent: int) -> float:
        work_s = self.surface.work_s(batch, sm_percent)
        if self.belief.gate == "launch":
            return max(work_s, self.surface.launch_s(quota_percent))
        return float(mean_latency_s(work_s, quota_percent / 100.0, self.belief.window_s))


def allowed(spec: FunctionSpec, quota_percent: int) -> int:
    """The nearest quota within a function's bounds."""
    bounds = spec.intent.quota
    return min(max(quota_percent, bounds.low.percent), bounds.high.percent)


def largest(spec: FunctionSpec) -> tuple[int, int]:
    """The whole GPU, as far as the function allows."""
    asked = spec.intent.sm_partition
    return 100 if asked is None else asked.percent, spec.intent.quota.high.percent


def throughput_of(spec: FunctionSpec, belief: Belief, sizing: Sizing) -> Throughput:
    """From the function's profile."""
    return Throughput(surface_of(spec, belief.product), belief, spec, sizing)
