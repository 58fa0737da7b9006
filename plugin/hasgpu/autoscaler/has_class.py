"""Process autoscaler: class has.autoscaling.hasgpu.dev. On the leader alone: looks, places, decides, writes, tells.

One thread owns everything but ``_wanted``, which reconcile workers read. The order of a pass is the order of need:
pods that wait are placed first, then each revision is decided over one ledger that all have told what they need, the
most important first, then raises are written before shrinks.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from hasgpu.cluster.knative import PodAutoscaler
from hasgpu.decision.hybrid import RevisionView, decide
from hasgpu.decision.ledger import Ledger
from hasgpu.decision.policy import Policy
from hasgpu.decision.precedence import take_precedence
from hasgpu.decision.row_needs import tell_needs
from hasgpu.model import annotations as keys
from hasgpu.model.decider import DeciderSpec
from hasgpu.model.decision import Decision, QuotaChange
from hasgpu.model.gpu import Placement
from hasgpu.model.keys import RevisionKey
from hasgpu.model.load import StatMessage
from hasgpu.prediction.forecast_board import ForecastBoard

from . import revision_spec
from .allocator import Allocator, Pass
from .decision_writer import DecisionWriter
from .gpu_world import GpuWorld, look
from .observed_load import ObservedLoad, horizons
from .own_writes import OwnWrites
from .plan_book import PlanBook
from .profile_book import ProfileBook
from .profile_fitting import ProfileFitting
from .revision_intents import RevisionIntent, RevisionIntents
from .scaled_revision import ScaledRevision, raises_only, startup_s
from .scaling_class import UNKNOWN, Wanted
from .slice_writer import SliceWriter
from .surroundings import Surroundings
from .telling import Telling

log = logging.getLogger(__name__)

SETTLE_S = 3.0
"""After leadership was won, until every activator and agent has had time to speak."""


class HasClass:
    """Built by the process from its surroundings; ``fit`` runs the fitter, without it profiles serve as they are."""

    activation_times_out = False
    scrapes = False

    def __init__(self, around: Surroundings, fit: Callable[[bytes], bytes] | None = None) -> None:
        self._around = around
        self._own_writes = OwnWrites()
        self._plans = PlanBook()
        self._book = ProfileBook(around.profiles)
        self._intents = RevisionIntents(self._book, around.settings)
        if fit is not None:
            served, leads = self._book.served, around.still_leading
            ProfileFitting(around.session, around.profiles, served, leads, fit).start()
        self._telling = Telling(around.events, around.cloudevents, around.metrics)
        writer = SliceWriter(around.session, self._own_writes, around.still_leading)
        self._writer = DecisionWriter(around, writer, self._telling)
        self._allocator = Allocator(self._intents, self._plans, writer, self._telling, around.tracing)
        self._records: dict[RevisionKey, ScaledRevision] = {}
        self._forecasts = self._empty_board()
        self._lock = threading.Lock()
        self._wanted: dict[RevisionKey, int] = {}
        self._scaled: deque[tuple[RevisionKey, int, int]] = deque(maxlen=1000)
        self._leading = False
        self._led_from_s = 0.0
        self._missed_s = 0.0
        """When some activator was not connected, last."""
        self._trusts_silence = False

    def wanted(self, pa: PodAutoscaler, spec: DeciderSpec, now: float) -> Wanted:
        """The last decision; unknown until there is one."""
        with self._lock:
            pods = self._wanted.get(RevisionKey(pa.metadata.namespace, pa.metadata.name))
        return UNKNOWN if pods is None else Wanted(pods=pods, excess_burst_capacity=-1)

    def forget(self, key: RevisionKey) -> None:
        """The next tick drops the record where the revision is no longer ours."""
        with self._lock:
            self._wanted.pop(key, None)

    def lead(self, leading: bool, now: float) -> None:
        """Everything but the cluster's own state is forgotten on the way in and out."""
        self._leading, self._led_from_s, self._missed_s = leading, now, now
        self._records.clear()
        self._forecasts = self._empty_board()
        self._plans.clear()
        self._own_writes.clear()
        self._book.clear()
        self._allocator.begin(now)
        with self._lock:
            self._wanted.clear()

    def on_stats(self, messages: Sequence[StatMessage], now: float) -> None:
        """Load, on arrival; the tick that follows decides."""
        for message in messages:
            self._record(message.key, now).load.take(message, now)

    def scaled(self, key: RevisionKey, before: int, after: int) -> None:
        """Told by a reconcile worker; the next tick tells the world."""
        self._scaled.append((key, before, after))
        self._around.wake()

    def metrics(self) -> Sequence[tuple[str, Mapping[str, str], float]]:
        """Who allocates; the revisions' gauges are set as they are decided."""
        figures: list[tuple[str, Mapping[str, str], float]] = [
            ("hasgpu.allocator.leader", {}, 1.0 if self._leading else 0.0)
        ]
        if self._leading:
            figures.append(("hasgpu.allocator.silence.trusted", {}, 1.0 if self._trusts_silence else 0.0))
        return figures

    def tick(self, now: float) -> None:
        """One pass."""
        if not self._leading or not self._synced():
            return
        began = time.perf_counter()
        if not self._around.all_connected(now):
            self._missed_s = now
        self._trusts_silence = now - self._missed_s >= SETTLE_S
        world = look(self._around, self._own_writes, now)
        ledger = world.ledger(self._around.settings.hasgpu.value.row_percent)
        ours = self._ours()
        self._keep_only(ours, now)
        self._observe(now)
        self._book.keep_only(self._intents.profiles(ours.values()))
        policy = self._policy()
        self._plans.enter(ledger, now)
        one = Pass(
            world=world,
            ledger=ledger,
            policy=policy,
            podautoscalers=ours,
            now=now,
        )
        self._allocator.run(one)
        self._decide_all(one, ours)
        self._telling.passed(time.perf_counter() - began, [now - written for written in world.acknowledged])
        while self._scaled:
            key, before, after = self._scaled.popleft()
            if key in ours and key in self._records:
                self._writer.scaled(ours[key], self._records[key], before, after, now)

    def _decide_all(self, one: Pass, ours: Mapping[RevisionKey, PodAutoscaler]) -> None:
        seen = self._see_all(one, ours)
        for newcomer in one.starved:
            take_precedence(one.ledger, newcomer)
        decided: list[tuple[Decision, PodAutoscaler, ScaledRevision]] = []
        for view, policy in seen:
            record = self._records[view.key]
            try:
                decision, record.state = decide(view, one.ledger, record.state, policy, one.now)
            except Exception:
                log.exception("%s: not decided", view.key)
                continue
            record.decision = decision if self._trusts_silence else raises_only(decision, view.replicas)
            decided.append((record.decision, ours[view.key], record))
        # Raises use room that was free before this pass, so they need no shrink of it; a shrink can wait its turn.
        for decision, pa, record in sorted(decided, key=lambda each: not _grows(each[0].quota_changes)):
            self._write(one, decision, pa, record)

    def _see_all(self, one: Pass, ours: Mapping[RevisionKey, PodAutoscaler]) -> list[tuple[RevisionView, Policy]]:
        """Every revision, the most important first, with the policy for it; the ledger knows what all need."""
        seen: list[tuple[RevisionView, Policy]] = []
        for key in sorted(ours, key=lambda each: _turn(one.world, each)):
            try:
                view = self._see(one, key, ours[key])
                if view is None:
                    continue
                policy = replace(one.policy, startup_s=self._startup_s(key, one.policy))
                if self._trusts_silence:  # else nothing is lowered, so nobody can give way
                    tell_needs(view, one.ledger, self._records[key].state, policy, one.now)
                seen.append((view, policy))
            except Exception:
                # The revision's edge: what one brings up must not stop the scaling of all others.
                log.exception("%s: not looked at", key)
        return seen

    def _see(self, one: Pass, key: RevisionKey, pa: PodAutoscaler) -> RevisionView | None:
        """All that is known of a revision now; None where its annotations can't be obeyed."""
        read = self._intents.read(key.namespace, pa.metadata.annotations, pa.metadata.labels)
        record = self._record(key, one.now)
        if read is None or read.intent.slo_latency_s is None:
            self._complain(
                record, pa, "BadAnnotations", "the hasgpu.dev annotations can't be obeyed; nothing is scaled"
            )
            return None
        self._tell_profile(record, pa, read)
        placements = one.world.placements_of(key)
        record.observe_pods(placements, one.now)
        if any(pod.gated_by(keys.SCHEDULING_GATE) for pod in self._around.pod_index.pods(key)):
            record.waited_s = one.now
        if not self._trusts_silence:
            record.missed_s = one.now
        self._learn(one.world, read, record, placements, one.now)
        return self._view(one, key, pa, read, record)

    def _learn(
        self,
        world: GpuWorld,
        read: RevisionIntent,
        record: ScaledRevision,
        placements: Sequence[Placement],
        now: float,
    ) -> None:
        """What the revision's requests have taken goes to its profile, and so to all that use it."""
        if not (self._trusts_silence and world.hears(placements, now)):
            record.meter.restart()
            record.unsure.drop()
            return
        products = {gpu.uuid: gpu.product for gpu in world.gpus}
        samples = record.meter.read(
            placements,
            world.reports,
            products,
            record.load,
            now,
            batch_size=read.intent.batch_size,
            window_s=self._around.settings.hasgpu.value.window_s,
        )
        for sample in record.unsure.sure(samples, now):
            self._book.observe(read.namespace, read.intent.profile, sample, now)

    def _view(
        self, one: Pass, key: RevisionKey, pa: PodAutoscaler, read: RevisionIntent, record: ScaledRevision
    ) -> RevisionView:
        settings = self._around.settings
        bounds = revision_spec.bounds(pa, settings.autoscaler.value)
        spec = revision_spec.decider_spec(pa, settings.autoscaler.value)
        deployment = self._around.caches.deployments.get(key.namespace, pa.spec.scale_target_ref.name)
        replicas = deployment.spec.replicas if deployment is not None else 0
        startup = self._startup_s(key, one.policy)
        load = record.load.read(
            one.now,
            # A request at zero pods needs nobody else's word.
            known=one.now - self._led_from_s >= SETTLE_S or (replicas == 0 and record.load.active(one.now)),
            startup_s=startup,
            idle_from_s=record.idle_from_s(one.now, self._gives_up_after_s(pa)),
        )
        return RevisionView(
            key=key,
            wish=self._intents.wish(read, one.world.gpus, one.policy, one.now),
            slo_latency_s=read.intent.slo_latency_s or 0.0,
            load=load,
            placements=_newest(one.ledger, one.world, key),
            plans=self._plans.of(key),
            replicas=replicas,
            least=max(bounds.least, spec.activation_scale if load.in_flight > 0.0 else 0),
            most=bounds.most,
            stable_window_s=spec.stable_window_s,
            cap_percent=one.caps.get(key, 100),
            quiet_until_s=record.written_s + one.policy.quiet_s,
        )

    def _write(self, one: Pass, decision: Decision, pa: PodAutoscaler, record: ScaledRevision) -> None:
        pods = self._writer.carry_out(decision, pa, record, one.world, one.now)
        if decision.plans:
            processes = int(pa.metadata.annotations.get(keys.GPU_PROCESSES, "1"))
            self._plans.add(decision.key, decision.plans, processes, record.decided_in, one.now)
        if decision.desired_pods == 0:
            self._plans.drop(decision.key)
        shares = [
            (each.slice.sm_partition.percent, each.slice.time_quota.percent)
            for each in one.world.placements_of(decision.key)
        ]
        self._telling.gauges(decision, pa, shares, one.waiting.get(decision.key, 0))
        if pods is not None and pods != record.wanted:
            record.wanted = pods
            with self._lock:
                self._wanted[decision.key] = pods
            self._around.enqueue(decision.key)

    def _record(self, key: RevisionKey, now: float) -> ScaledRevision:
        if key not in self._records:
            self._records[key] = ScaledRevision(load=ObservedLoad(now, self._forecasts), seen_s=now)
        return self._records[key]

    def _ours(self) -> dict[RevisionKey, PodAutoscaler]:
        return {
            RevisionKey(pa.metadata.namespace, pa.metadata.name): pa
            for pa in self._around.caches.podautoscalers.snapshot()
            if revision_spec.scaling_class(pa) == keys.HAS_CLASS and pa.metadata.deletion_timestamp is None
        }

    def _keep_only(self, ours: Mapping[RevisionKey, PodAutoscaler], now: float) -> None:
        """Revisions that are gone are forgotten; a new one starts from what its service was serving."""
        for key in [key for key in self._records if key not in ours]:
            self._records.pop(key).load.leave()
            self._plans.drop(key)
        for key, pa in ours.items():
            if key not in self._records:
                record = self._record(key, now)
                sibling = self._sibling(key, pa, ours) if revision_spec.reachable(pa) else None
                if sibling is not None:
                    record.load.follow(sibling.load)

    def _sibling(
        self, key: RevisionKey, pa: PodAutoscaler, ours: Mapping[RevisionKey, PodAutoscaler]
    ) -> ScaledRevision | None:
        service = pa.metadata.labels.get(keys.SERVICE_LABEL)
        for other, record in self._records.items():
            if other != key and other.namespace == key.namespace and record.load.known:
                theirs = ours[other].metadata.labels.get(keys.SERVICE_LABEL) if other in ours else None
                if service and theirs == service:
                    return record
        return None

    def _observe(self, now: float) -> None:
        """What was reported, and where silence may be believed the silence, of all revisions at once."""
        wanted = horizons(self._around.settings.hasgpu.value.risk_quantile, Policy().startup_s)
        if wanted != self._forecasts.horizons:
            self._forecasts.aim(*wanted)
        if self._trusts_silence:
            for record in self._records.values():
                record.load.tick(now)
        self._forecasts.settle()

    def _empty_board(self) -> ForecastBoard:
        return ForecastBoard(*horizons(self._around.settings.hasgpu.value.risk_quantile, Policy().startup_s))

    def _synced(self) -> bool:
        around = self._around
        return around.pods.synced and around.gpus.synced and around.nodes.synced and around.profiles.synced

    def _policy(self) -> Policy:
        settings = self._around.settings.hasgpu.value
        return Policy(replace_after_s=settings.replace_after_s, recreate=settings.replace == "recreate")

    def _startup_s(self, key: RevisionKey, policy: Policy) -> float:
        return startup_s(self._around.pod_index.pods(key), policy.startup_s)

    def _gives_up_after_s(self, pa: PodAutoscaler) -> float:
        """As long as Knative lets a revision start, where nothing routes to it (any more); else for ever."""
        if revision_spec.reachable(pa):
            return math.inf
        settings = self._around.settings
        policy = revision_spec.zero_policy(
            pa, settings.autoscaler.value, settings.deployment.value, activation_times_out=True
        )
        return policy.activation_timeout_s

    def _tell_profile(self, record: ScaledRevision, pa: PodAutoscaler, read: RevisionIntent) -> None:
        if read.problem and read.profile is None:
            said = f"{read.problem}; pods start at their upper bounds and the profile is learnt from traffic"
            self._complain(record, pa, "ProfileMissing", said)
        elif read.problem:
            self._complain(record, pa, "ProfileBroken", f"{read.problem}; the last good one stays in use")
        else:
            record.complaint = ""

    def _complain(self, record: ScaledRevision, pa: PodAutoscaler, reason: str, message: str) -> None:
        if record.complaint != message:
            record.complaint = message
            self._telling.warn(pa, reason, message)


def _newest(ledger: Ledger, world: GpuWorld, key: RevisionKey) -> tuple[Placement, ...]:
    """The revision's placements, with those made earlier in this pass."""
    return tuple(placement for placement in ledger.placements_of(key) if placement.pod in world.pods)


def _grows(changes: Sequence[QuotaChange]) -> bool:
    return any(change.grows for change in changes)


def _turn(world: GpuWorld, key: RevisionKey) -> tuple[int, RevisionKey]:
    """The most important first."""
    return -max((each.priority for each in world.placements_of(key)), default=0), key
