"""Process simulator: what rivals think a slice can do: so much of the time its latency leaves. No queueing theory.

A slice whose lone latency misses the SLO can do nothing. The tables come from the same profile as ours.
"""

from __future__ import annotations

from dataclasses import dataclass

from hasgpu.model.capacity import CapacityTable
from hasgpu.simulator.believed import Belief, table_of
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

    table: CapacityTable
    spec: FunctionSpec
    sizing: Sizing

    def per_s(self, sm_percent: int, quota_percent: int) -> float:
        """Requests/s within the SLO, as far as a mean tells."""
        if quota_percent < 5:
            return 0.0
        latency_s = self.table.latency(sm_percent, quota_percent)
        if latency_s > self.sizing.slack * (self.spec.slo_s - self.spec.overhead_s):
            return 0.0
        return float(self.sizing.utilisation * self.spec.intent.batch_size**0.5 / latency_s)

    def best_unit(self, quotas: tuple[int, ...]) -> tuple[int, int]:
        """The slice with the most requests/s for its SM x quota; the whole GPU where none meets the SLO."""
        shares = self.table.sm_percents if self.spec.intent.sm_partition is None else (self._explicit(),)
        worth = [(self.per_s(sm, quota) / (sm * quota), -sm, -quota) for sm in shares for quota in quotas]
        best = max(worth)
        return (-best[1], -best[2]) if best[0] > 0.0 else (100, 100)

    def _explicit(self) -> int:
        sm = self.spec.intent.sm_partition
        return sm.percent if sm is not None else 100


def throughput_of(spec: FunctionSpec, belief: Belief, sizing: Sizing) -> Throughput:
    """From the function's profile."""
    return Throughput(table_of(spec, belief), spec, sizing)
