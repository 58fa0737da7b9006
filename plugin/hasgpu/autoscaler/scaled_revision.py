"""Process autoscaler: what the leader remembers of one revision of our class between two ticks. No I/O.

Nothing here is the truth: a new leader starts with an empty record and arrives at the same decisions.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from hasgpu.cluster.knative import PodAutoscaler
from hasgpu.cluster.metadata import condition
from hasgpu.cluster.objects import Pod
from hasgpu.decision.demand import backlog_of
from hasgpu.decision.hybrid import HybridState
from hasgpu.decision.need import Need
from hasgpu.model.decision import Decision, reason
from hasgpu.model.gpu import Placement
from hasgpu.settings.store import ConfigStore

from .asked import Asked
from .observed_load import ObservedLoad
from .unsure_samples import UnsureSamples
from .work_meter import WorkMeter


@dataclass(slots=True)
class ScaledRevision:
    """One record."""

    load: ObservedLoad
    seen_s: float
    state: HybridState = field(default_factory=HybridState)
    wanted: int = -1
    decision: Decision | None = None
    ready_since_s: float | None = None
    waited_s: float = float("-inf")
    """When a pod of it waited for room, last."""
    missed_s: float = float("-inf")
    """When an activator was not connected, last: it may have had requests of the revision."""
    slo_latency_s: float = 0.0
    """As of its last decision."""
    needs: tuple[Need, ...] = ()
    """What its pods needed of their rows when it was decided last."""
    written_s: float = 0.0
    """When a quota of its pods was written last."""
    decided_in: str = ""
    """Context of the span of the last decision that changed something."""
    meter: WorkMeter = field(default_factory=WorkMeter)
    unsure: UnsureSamples = field(default_factory=UnsureSamples)
    complaint: str = ""
    """What the user was warned of last."""
    _asked: Asked | None = None

    def asked(self, pa: PodAutoscaler, settings: ConfigStore) -> Asked:
        """What its PodAutoscaler asks for, read once of each version."""
        autoscaler, deployment = settings.autoscaler.value, settings.deployment.value
        if self._asked is None or not self._asked.holds(pa, autoscaler, deployment):
            self._asked = Asked.read(pa, autoscaler, deployment)
        return self._asked

    def observe_pods(self, placements: Iterable[Placement], now: float) -> None:
        """Idle time begins when a pod could first serve."""
        if self.ready_since_s is None and any(placement.ready for placement in placements):
            self.ready_since_s = now

    def shortage(self, now: float, drain_s: float) -> float:
        """How many times the load that was decided for is seen by now; above 1 the decision is out of date."""
        decision = self.decision
        if decision is None or decision.demand_requests_per_s is None:
            return math.inf if self.load.active(now) else 0.0
        soon, in_flight = self.load.present(now)
        seen = soon + backlog_of(soon, in_flight, self.slo_latency_s) / max(drain_s, self.slo_latency_s)
        decided = max(decision.demand_requests_per_s, decision.capacity_requests_per_s or 0.0)
        if decided > 0.0 and decision.desired_pods != 0:
            return seen / decided
        return math.inf if seen > 0.0 and self.load.active(now) else 0.0

    def idle_from_s(self, now: float, gives_up_after_s: float) -> float:
        """Before a pod was ready once no time counts as idle: a revision that waits for room goes on waiting.

        One whose pods have room and don't become ready is given up after a while, where that is finite.
        """
        if self.ready_since_s is not None:
            return max(self.ready_since_s, self.missed_s)
        return min(now, max(self.seen_s, self.waited_s, self.missed_s) + gives_up_after_s)


def raises_only(decision: Decision, replicas: int) -> Decision:
    """What of a decision holds though some load may be unseen: what is seen is the least there is."""
    return replace(
        decision,
        quota_changes=tuple(change for change in decision.quota_changes if change.grows),
        desired_pods=None if decision.desired_pods is None else max(decision.desired_pods, replicas),
        victims=(),
        reasons=(*decision.reasons, reason("activators-not-connected")),
    )


def startup_s(pods: Iterable[Pod], default_s: float) -> float:
    """From scheduled to Ready, of the slowest pod that made it without a restart; one second for its creation."""
    seen = [1.0 + found for pod in pods if (found := _startup_s(pod)) is not None]
    return min(max(seen), 600.0) if seen else default_s


def _startup_s(pod: Pod) -> float | None:
    ready, scheduled = condition(pod.status.conditions, "Ready"), condition(pod.status.conditions, "PodScheduled")
    restarted = any(status.restart_count for status in pod.status.container_statuses)
    if ready is None or ready.status != "True" or scheduled is None or restarted:
        return None
    if ready.last_transition_time is None or scheduled.last_transition_time is None:
        return None
    return max(0.0, (ready.last_transition_time - scheduled.last_transition_time).total_seconds())
