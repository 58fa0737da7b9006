"""Process autoscaler: all that is known of a revision of our class now, as its decision reads it. Writes nothing.

What there is to learn from its traffic is learnt on the way, and what is wrong with its profile is told.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from hasgpu.cluster.knative import PodAutoscaler
from hasgpu.decision.hybrid import RevisionView
from hasgpu.decision.ledger import Ledger
from hasgpu.decision.policy import Policy
from hasgpu.model import annotations as keys
from hasgpu.model.gpu import Placement
from hasgpu.model.keys import RevisionKey

from .allocator import Pass
from .asked import Asked
from .gpu_world import GpuWorld
from .load_book import LoadBook
from .plan_book import PlanBook
from .profile_book import ProfileBook
from .revision_intents import RevisionIntent, RevisionIntents
from .scaled_revision import ScaledRevision, startup_s
from .surroundings import Surroundings
from .telling import Telling

SETTLE_S = 3.0
"""After leadership was won, until every activator and agent has had time to speak."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hearing:
    """How far the load that was heard is all there is."""

    led_from_s: float
    trusts_silence: bool
    """Every activator has been connected for long enough: who says nothing has no requests."""


class RevisionViews:
    """Used by one thread."""

    def __init__(
        self,
        around: Surroundings,
        intents: RevisionIntents,
        book: ProfileBook,
        loads: LoadBook,
        plans: PlanBook,
        telling: Telling,
    ) -> None:
        self._around, self._intents, self._book, self._loads = around, intents, book, loads
        self._plans, self._telling = plans, telling

    def see(
        self, one: Pass, pa: PodAutoscaler, record: ScaledRevision, hearing: Hearing
    ) -> tuple[RevisionView, Policy] | None:
        """The view and the policy for it; None where the revision's annotations can't be obeyed."""
        key = RevisionKey(pa.metadata.namespace, pa.metadata.name)
        asked = record.asked(pa, self._around.settings)
        if asked.intent is None or asked.intent.slo_latency_s is None:
            problem = "the hasgpu.dev annotations can't be obeyed; nothing is scaled"
            self._complain(record, pa, "BadAnnotations", problem)
            return None
        read = self._intents.known(key.namespace, asked.intent)
        self._tell_profile(record, pa, read)
        placements = one.world.placements_of(key)
        record.observe_pods(placements, one.now)
        pods = self._around.pod_index.pods(key)
        if any(pod.gated_by(keys.SCHEDULING_GATE) for pod in pods):
            record.waited_s = one.now
        if not hearing.trusts_silence:
            record.missed_s = one.now
        self._learn(one, read, record, placements, hearing)
        policy = _starting_in(one.policy, startup_s(pods, one.policy.startup_s))
        record.slo_latency_s = asked.intent.slo_latency_s
        return self._view(one, key, asked, read, record, policy, hearing), policy

    def _learn(
        self,
        one: Pass,
        read: RevisionIntent,
        record: ScaledRevision,
        placements: Sequence[Placement],
        hearing: Hearing,
    ) -> None:
        """What the revision's requests have taken goes to its profile, and so to all that use it."""
        world, now = one.world, one.now
        if not (hearing.trusts_silence and world.hears(placements, now)):
            record.meter.restart()
            record.unsure.drop()
            return
        samples = record.meter.read(
            placements,
            world.reports,
            world.products,
            record.load,
            now,
            batch_size=read.intent.batch_size,
            window_s=self._around.settings.hasgpu.value.window_s,
        )
        for sample in record.unsure.sure(samples, now):
            self._book.observe(read.namespace, read.intent.profile, sample, now)

    def _view(
        self,
        one: Pass,
        key: RevisionKey,
        asked: Asked,
        read: RevisionIntent,
        record: ScaledRevision,
        policy: Policy,
        hearing: Hearing,
    ) -> RevisionView:
        deployment = self._around.caches.deployments.get(key.namespace, asked.pa.spec.scale_target_ref.name)
        replicas = deployment.spec.replicas if deployment is not None else 0
        load = record.load.read(
            one.now,
            # A request at zero pods needs nobody else's word.
            known=one.now - hearing.led_from_s >= SETTLE_S or (replicas == 0 and record.load.active(one.now)),
            startup_s=policy.startup_s,
            idle_from_s=record.idle_from_s(one.now, asked.gives_up_after_s),
            awaited_per_s=self._loads.awaited_per_s(asked.of_service, one.now, policy.startup_s),
        )
        return RevisionView(
            key=key,
            wish=self._intents.wish(read, one.world.gpus, one.policy, one.now),
            slo_latency_s=read.intent.slo_latency_s or 0.0,
            load=load,
            placements=_newest(one.ledger, one.world, key),
            plans=self._plans.of(key),
            replicas=replicas,
            least=max(asked.least, asked.activation_scale if load.in_flight > 0.0 else 0),
            most=asked.most,
            stable_window_s=asked.stable_window_s,
            cap_percent=one.caps.get(key, 100),
            quiet_until_s=record.written_s + one.policy.quiet_s,
        )

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


@lru_cache(maxsize=1000)
def _starting_in(policy: Policy, startup_s: float) -> Policy:
    """The policy for pods that take so long to start; making one costs more than finding it."""
    return replace(policy, startup_s=startup_s)


def _newest(ledger: Ledger, world: GpuWorld, key: RevisionKey) -> tuple[Placement, ...]:
    """The revision's placements, with those made earlier in this pass."""
    return tuple(placement for placement in ledger.placements_of(key) if placement.pod in world.pods)
