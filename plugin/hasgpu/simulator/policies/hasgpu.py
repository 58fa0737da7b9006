"""Process simulator, policy hasgpu: ours. The same decisions, load tracking and placement as the autoscaler's.

What the autoscaler does with API objects is done here with simulated pods: one pass places waiting pods, decides
each revision over one ledger, the most important first, and carries the decisions out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from hasgpu.autoscaler.observed_load import ObservedLoad, horizons
from hasgpu.autoscaler.recorded_load import RecordedLoad, SlotClock
from hasgpu.decision.hybrid import HybridState, RevisionView, decide
from hasgpu.decision.ledger import Ledger
from hasgpu.decision.moves import Cluster as Seen
from hasgpu.decision.moves import Moves, asked, next_moves
from hasgpu.decision.placement import Chosen, SliceWish, choose_slice
from hasgpu.decision.policy import Policy
from hasgpu.decision.precedence import Newcomer, take_precedence
from hasgpu.decision.replacement import yielding
from hasgpu.decision.row_needs import tell_needs
from hasgpu.model.decision import Decision
from hasgpu.model.keys import PodKey, RevisionKey
from hasgpu.model.load import StatMessage
from hasgpu.prediction.forecast_board import ForecastBoard
from hasgpu.prediction.season import Season
from hasgpu.simulator.believed import Belief, wish_of
from hasgpu.simulator.cluster import Cluster
from hasgpu.simulator.deployed import Deployed

STABLE_WINDOW_S = 60.0
GRACE_S = 30.0
"""Knative's scale-to-zero grace period."""
CREATION_S = 1.0
"""The autoscaler adds so much to the start-up it has seen."""


@dataclass(slots=True)
class _Record:
    """What the leader remembers of one revision."""

    wish: SliceWish
    load: ObservedLoad
    day: RecordedLoad = field(default_factory=RecordedLoad)
    counted: float = 0.0
    """Requests before these five minutes."""
    state: HybridState = field(default_factory=HybridState)
    waiting: int = 0
    """Pods that were asked for and have no slice yet."""
    ready_since_s: float | None = None
    zero_since_s: float | None = None
    written_s: float = -10.0
    cap_percent: int = 100
    last: Decision | None = None

    @property
    def nothing_decided(self) -> bool:
        """A request finds neither pods nor time: the leader looks at once, not at its next tick."""
        return self.last is None or not self.last.desired_pods or not self.last.capacity_requests_per_s


class Hasgpu:
    """One leader."""

    tick_s: float | None = None

    def __init__(
        self,
        belief: Belief,
        policy: Policy,
        risk_quantile: float,
        seasons: Mapping[RevisionKey, Season] | None = None,
        began_s: float = 0.0,
    ) -> None:
        self._belief, self._policy = belief, policy
        self._seasons, self._began_s, self._slots = seasons or {}, began_s, SlotClock()
        self._board = ForecastBoard(*horizons(risk_quantile, policy.startup_s))
        self._records: dict[RevisionKey, _Record] = {}
        self._moves = Moves()
        self._again_s = 0.0
        self._due_s = 0.0
        """When the activators tell of a whole period next."""

    def start(self, cluster: Cluster) -> None:
        self._due_s = cluster.delays.stat_period_s + cluster.delays.stat_s - 1e-6
        ledger = cluster.ledger(100 - self._belief.lent_percent)
        for key, function in cluster.functions.items():
            record = _Record(
                wish=wish_of(function.spec, self._belief),
                load=ObservedLoad(0.0, self._board),
            )
            self._records[key] = record
            record.waiting = max(1, function.spec.min_scale)
            self._place(cluster, ledger, function, record, at_once=True)

    def on_stats(self, cluster: Cluster, stats: Sequence[StatMessage]) -> None:
        for message in stats:
            self._records[message.key].load.take(message, cluster.now)
        if cluster.now >= self._due_s:
            self._due_s += cluster.delays.stat_period_s
            self.tick(cluster)
        elif any(self._records[message.key].nothing_decided for message in stats):
            self.tick(cluster)

    def tick(self, cluster: Cluster) -> None:
        """One pass, as HasClass makes it."""
        for record in self._records.values():
            record.load.tick(cluster.now)
        self._record_days(cluster.now)
        ledger = cluster.ledger(100 - self._belief.lent_percent)
        ledger.emptying = self._moves.emptying
        functions = sorted(cluster.functions.values(), key=lambda each: -each.spec.priority)
        starved = []
        for function in functions:
            record = self._records[function.key]
            record.cap_percent = 100
            if not self._place(cluster, ledger, function, record, at_once=False):
                starved.append(function)
        self._plan_moves(cluster, ledger, starved)
        seen: list[tuple[RevisionView, Deployed, _Record, Policy]] = []
        for function in functions:
            record = self._records[function.key]
            policy = replace(self._policy, startup_s=function.spec.startup_s + CREATION_S)
            view = self._view(cluster, ledger, function, record, policy)
            tell_needs(view, ledger, record.state, policy, cluster.now)
            seen.append((view, function, record, policy))
        for function in starved:
            take_precedence(ledger, self._newcomer(function))
        decided: list[tuple[Decision, Deployed, _Record]] = []
        for view, function, record, policy in seen:
            decision, record.state = decide(view, ledger, record.state, policy, cluster.now)
            cluster.log.decided(decision)
            record.last = decision
            decided.append((decision, function, record))
        for decision, function, record in decided:
            self._carry_out(cluster, decision, function, record)
        shrinks = any(not change.grows for decision, _, _ in decided for change in decision.quota_changes)
        if shrinks and any(decision.waiting_changes for decision, _, _ in decided):
            self._look_again(cluster)

    def _record_days(self, now: float) -> None:
        ended = self._slots.ended(self._began_s + now)
        if ended is None:
            return
        slot, known = ended
        for record in self._records.values():
            if known:
                record.day.record(slot, record.load.requests - record.counted)
            record.counted = record.load.requests

    def _plan_moves(self, cluster: Cluster, ledger: Ledger, starved: Sequence[Deployed]) -> None:
        if self._moves.due(self._policy, cluster.now, starved=bool(starved)):
            calm = {key: each.wish for key, each in self._records.items() if each.state.movable}
            waits = tuple(self._records[function.key].wish for function in starved)
            seen = Seen(ledger=ledger, wishes=calm, starved=waits)
            self._moves = next_moves(self._moves, seen, self._policy, cluster.now)

    def _newcomer(self, function: Deployed) -> Newcomer:
        return Newcomer(
            revision=function.key,
            priority=function.spec.priority,
            wish=self._records[function.key].wish,
            requests_per_s=self._policy.first_requests_per_s,
        )

    def _view(
        self, cluster: Cluster, ledger: Ledger, function: Deployed, record: _Record, policy: Policy
    ) -> RevisionView:
        now = cluster.now
        if record.ready_since_s is None and function.balancer.pods:
            record.ready_since_s = now
        load = record.load.read(
            now,
            known=True,
            startup_s=policy.startup_s,
            idle_from_s=record.ready_since_s if record.ready_since_s is not None else now,
            awaited_per_s=record.day.awaited_per_s(
                self._seasons.get(function.key), self._began_s + now, policy.startup_s
            ),
        )
        own = [ledger.placement(pod.key) for pod in function.pods]
        return RevisionView(
            key=function.key,
            wish=record.wish,
            slo_latency_s=function.spec.slo_s,
            load=load,
            placements=tuple(each for each in own if each is not None),
            plans=(),
            replicas=len(function.staying()) + record.waiting,
            least=function.spec.min_scale,
            most=function.spec.max_scale,
            stable_window_s=STABLE_WINDOW_S,
            cap_percent=record.cap_percent,
            quiet_until_s=record.written_s + policy.quiet_s,
            moving=self._moves.of(function.key),
        )

    def _place(self, cluster: Cluster, ledger: Ledger, function: Deployed, record: _Record, *, at_once: bool) -> bool:
        """A pod nobody planned gets the cheapest slice that serves a little load; False where there is no room."""
        policy = self._policy
        while record.waiting:
            found = choose_slice(
                ledger,
                record.wish,
                policy.first_requests_per_s,
                headroom=policy.headroom,
                unprofiled_sm_percent=policy.unprofiled_sm_percent,
            )
            if not isinstance(found, Chosen):
                family = {function.key: record.wish.quota}
                caps = yielding(ledger, function.key, record.wish, family)
                record.cap_percent = caps.get(function.key, 100)
                return bool(caps)
            pod = cluster.start_pod(function.key, found.slice, at_once=at_once)
            ledger.take(pod.placement())
            record.waiting -= 1
        return True

    def _carry_out(self, cluster: Cluster, decision: Decision, function: Deployed, record: _Record) -> None:
        pods = {pod.key: pod for pod in function.pods}
        for change in sorted(decision.quota_changes, key=lambda each: not each.grows):
            cluster.write_quota(pods[change.pod], change.new.time_quota.percent)
            record.written_s = cluster.now
        moving = self._moves.of(function.key)
        for wanted in decision.plans:
            pod = cluster.start_pod(function.key, wanted)
            if moving is not None and wanted == moving.move.wanted:
                self._moves = asked(self._moves, pod.key)
        if decision.desired_pods is None:
            return
        if decision.desired_pods == 0:
            self._to_zero(cluster, function, record)
            return
        record.zero_since_s = None
        surplus = len(function.staying()) + record.waiting - decision.desired_pods
        record.waiting = max(0, record.waiting - surplus)
        for victim in self._victims(decision, function)[: len(function.staying()) - decision.desired_pods]:
            cluster.remove(pods[victim])

    def _victims(self, decision: Decision, function: Deployed) -> list[PodKey]:
        """Unready pods leave first by Kubernetes' own order, then those that were marked."""
        unready = [pod.key for pod in function.staying() if not pod.ready]
        return [*unready, *(victim for victim in decision.victims if victim not in unready)]

    def _to_zero(self, cluster: Cluster, function: Deployed, record: _Record) -> None:
        record.waiting = 0
        if record.zero_since_s is None:
            record.zero_since_s = cluster.now
        if cluster.now - record.zero_since_s >= GRACE_S:
            for pod in function.staying():
                cluster.remove(pod)

    def _look_again(self, cluster: Cluster) -> None:
        """An acknowledged shrink wakes the leader at once."""
        delays = cluster.delays
        at = cluster.now + delays.write_s + delays.apply_s + delays.acknowledge_s + 1e-6
        if at > self._again_s:
            self._again_s = at
            cluster.agenda.at(at, lambda _: self.tick(cluster))
