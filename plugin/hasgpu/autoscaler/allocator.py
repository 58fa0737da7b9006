"""Process autoscaler: gives waiting pods their slices. The only placer; runs on the leader, in one thread.

Placed is what is written on the pod. A pod without room waits, says why, and gets room from its own family: first
quota, at last a predecessor's place. A placed pod that its node can't take is deleted and planned elsewhere.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from hasgpu.cluster.knative import PodAutoscaler
from hasgpu.cluster.metadata import condition
from hasgpu.cluster.objects import Node, Pod
from hasgpu.decision.ledger import Ledger
from hasgpu.decision.placement import Chosen, NoRoom, SliceWish, bulk, choose_slice
from hasgpu.decision.policy import Policy
from hasgpu.decision.precedence import Newcomer
from hasgpu.decision.replacement import eviction, yielding
from hasgpu.model import annotations as keys
from hasgpu.model.decision import Reason, reason
from hasgpu.model.gpu import GpuSlice, Placement
from hasgpu.model.keys import PodKey, RevisionKey
from hasgpu.model.units import QuotaBounds
from hasgpu.telemetry.tracing import Attribute, Tracing, recorded

from .gpu_world import GpuWorld, pod_key, revision_key
from .node_rules import allows
from .plan_book import Plan, PlanBook
from .revision_intents import RevisionIntents
from .slice_writer import SliceWriter
from .telling import Telling

log = logging.getLogger(__name__)

REPEAT_S = 60.0
"""A pod that waits for the same reasons says so again after this."""
PATIENCE_S = 1.0
"""A pod that has waited for less has nothing to complain about: room may be on its way."""
UNSCHEDULABLE_S = 10.0
AVOID_S = 30.0


@dataclass(slots=True)
class Pass:
    """One pass over the waiting pods."""

    world: GpuWorld
    ledger: Ledger
    policy: Policy
    podautoscalers: Mapping[RevisionKey, PodAutoscaler]
    now: float
    caps: dict[RevisionKey, int] = field(default_factory=dict)
    """Quota caps of revisions that must make room."""
    waiting: dict[RevisionKey, int] = field(default_factory=dict)
    """Pods that found no room."""
    starved: list[Newcomer] = field(default_factory=list)
    """Pods for which none of their own family can make room, so that those of lower priority must."""


class Allocator:
    """Keeps no allocation of its own: only what was told, and which nodes to avoid for a while."""

    def __init__(
        self, intents: RevisionIntents, plans: PlanBook, writer: SliceWriter, telling: Telling, tracing: Tracing
    ) -> None:
        self._intents, self._plans, self._writer = intents, plans, writer
        self._telling, self._tracing = telling, tracing
        self._told: dict[str, tuple[tuple[str, ...], float]] = {}
        self._avoid: dict[tuple[RevisionKey, str], tuple[float, int]] = {}
        self._since_s = 0.0

    def begin(self, now: float) -> None:
        """This replica leads from now on."""
        self._told.clear()
        self._avoid.clear()
        self._since_s = now

    def run(self, one: Pass) -> None:
        """Places what can be placed."""
        self._give_up_unschedulable(one)
        for pod in self._in_turn(one):
            try:
                self._place(one, pod)
            except Exception:
                # The pod's edge: what one brings up must not keep all others waiting.
                log.exception("%s/%s: not placed", pod.metadata.namespace, pod.metadata.name)
        there = {pod.metadata.uid for pod in one.world.waiting}
        self._told = {uid: told for uid, told in self._told.items() if uid in there}

    def _in_turn(self, one: Pass) -> list[Pod]:
        """The most important first and, of equals, the bulkiest; of the same bulk who has waited longest."""
        most_bytes = max((gpu.memory_bytes for gpu in one.world.gpus), default=1)

        def bulk_of(pod: Pod) -> float:
            read = self._intents.read(pod.metadata.namespace, pod.metadata.annotations, pod.metadata.labels)
            if read is None:
                return 0.0
            memory_bytes = self._intents.memory_bytes(read, one.policy)
            return bulk(read.intent.quota.low.percent, memory_bytes, most_bytes)

        return sorted(one.world.waiting, key=lambda pod: (-pod.spec.priority, -bulk_of(pod)))

    def _place(self, one: Pass, pod: Pod) -> None:
        revision = revision_key(pod)
        read = self._intents.read(pod.metadata.namespace, pod.metadata.annotations, pod.metadata.labels)
        if read is None:
            self._wait(one, pod, (reason("bad-annotations"),))
            return
        nodes = frozenset(name for name, node in one.world.nodes.items() if self._allowed(one, revision, node, pod))
        wish = self._intents.wish(read, one.world.gpus, one.policy, one.now, nodes=nodes)
        plan = self._plans.take(revision, one.ledger)
        found = self._planned(one, wish, plan) or self._chosen(one, wish)
        if isinstance(found, NoRoom):
            self._make_room(one, pod, revision, wish, found)
            return
        gpu = one.ledger.books(found.gpu_uuid)
        node = one.world.nodes.get(gpu.gpu.node) if gpu is not None else None
        if node is None:
            self._wait(one, pod, (reason("node-unknown", gpu=found.gpu_uuid),))
            return
        # Taken even where the write fails: whether it was carried out may not be known.
        one.ledger.take(Placement(pod=pod_key(pod), revision=revision, slice=found, processes=wish.processes))
        self._write(one, pod, found, node, plan)

    def _write(self, one: Pass, pod: Pod, found: GpuSlice, node: Node, plan: Plan | None) -> None:
        links = [plan.traceparent] if plan is not None and plan.traceparent else []
        attributes: dict[str, Attribute] = {
            "k8s.namespace.name": pod.metadata.namespace,
            "k8s.pod.name": pod.metadata.name,
            "k8s.node.name": node.metadata.name,
            "hasgpu.gpu": found.gpu_uuid,
            "hasgpu.row": found.row,
            "hasgpu.sm_partition_percent": found.sm_partition.percent,
            "hasgpu.time_quota_percent": found.time_quota.percent,
        }
        with self._tracing.span("place", parent=_admitted(pod), links=links, attributes=attributes) as span:
            twin_of = plan.twin_of if plan is not None and plan.slice == found else ""
            if self._writer.place(pod, found, node, span.traceparent, one.now, twin_of=twin_of):
                self._telling.placed(pod, found, one.now)
            else:
                span.fail("not written")

    def _planned(self, one: Pass, wish: SliceWish, plan: Plan | None) -> GpuSlice | None:
        """The plan's slice, where it still fits and the pod's own rules allow its node."""
        if plan is None or one.ledger.refusal(plan.slice, plan.processes) is not None:
            return None
        books = one.ledger.books(plan.slice.gpu_uuid)
        allowed = books is not None and (wish.nodes is None or books.gpu.node in wish.nodes)
        return plan.slice if allowed else None

    def _chosen(self, one: Pass, wish: SliceWish) -> GpuSlice | NoRoom:
        """A pod nobody planned gets the cheapest slice that serves a little load within the SLO."""
        rate = one.policy.first_requests_per_s
        sizes = {"headroom": one.policy.headroom, "unprofiled_sm_percent": one.policy.unprofiled_sm_percent}
        found = choose_slice(one.ledger, wish, rate, **sizes)  # type: ignore[arg-type]
        if isinstance(found, Chosen) and found.requests_per_s <= 0.0 and wish.tables:
            # No slice meets the SLO, as far as is known: the largest comes nearest.
            found = choose_slice(one.ledger, replace(wish, tables={}), rate, **sizes)  # type: ignore[arg-type]
        return found.slice if isinstance(found, Chosen) else found

    def _make_room(self, one: Pass, pod: Pod, revision: RevisionKey, wish: SliceWish, found: NoRoom) -> None:
        family = self._family(one, pod, revision)
        caps = yielding(one.ledger, revision, wish, family)
        for yielder, cap in caps.items():
            one.caps[yielder] = min(cap, one.caps.get(yielder, 100))
        created = pod.metadata.creation_timestamp
        waited_s = one.now - max(created.timestamp() if created else one.now, self._since_s)
        if not caps and waited_s >= one.policy.replace_after_s:
            leaving = eviction(one.ledger, revision, wish, family, one.policy)
            if leaving is not None and self._writer.evict(leaving.pod, one.now):
                old = one.world.pods.get(leaving.pod)
                pa = one.podautoscalers.get(revision_key(old)) if old is not None else None
                self._telling.evicted(leaving.pod, pa, leaving.reasons)
        if not caps:
            rate = one.policy.first_requests_per_s
            newcomer = Newcomer(revision=revision, priority=pod.spec.priority, wish=wish, requests_per_s=rate)
            one.starved.append(newcomer)
        if waited_s >= PATIENCE_S:
            self._wait(one, pod, found.reasons)
        else:
            one.waiting[revision] = one.waiting.get(revision, 0) + 1

    def _family(self, one: Pass, pod: Pod, revision: RevisionKey) -> dict[RevisionKey, QuotaBounds]:
        """The revisions of the pod's service that scale by quota, with their bounds."""
        service = pod.metadata.labels.get(keys.SERVICE_LABEL)
        family: dict[RevisionKey, QuotaBounds] = {}
        for key, pa in one.podautoscalers.items():
            theirs = pa.metadata.labels.get(keys.SERVICE_LABEL)
            if service is None or key.namespace != revision.namespace or theirs != service:
                continue
            read = self._intents.read(key.namespace, pa.metadata.annotations, pa.metadata.labels)
            if read is not None and read.intent.scaling == "hybrid":
                family[key] = read.intent.quota
        return family

    def _wait(self, one: Pass, pod: Pod, reasons: tuple[Reason, ...]) -> None:
        revision = revision_key(pod)
        one.waiting[revision] = one.waiting.get(revision, 0) + 1
        facts = tuple(sorted({each.fact for each in reasons}))
        before = self._told.get(pod.metadata.uid)
        if before is not None and before[0] == facts and one.now - before[1] < REPEAT_S:
            return
        self._told[pod.metadata.uid] = (facts, one.now)
        attributes = {"k8s.namespace.name": pod.metadata.namespace, "k8s.pod.name": pod.metadata.name}
        with self._tracing.span("place", parent=_admitted(pod), attributes=attributes) as span:
            span.fail("; ".join(each.text for each in reasons))
        self._telling.waits(pod, revision, one.podautoscalers.get(revision), reasons, one.now)

    def _allowed(self, one: Pass, revision: RevisionKey, node: Node, pod: Pod) -> bool:
        avoided = self._avoid.get((revision, node.metadata.name))
        return (avoided is None or one.now >= avoided[0]) and allows(node, pod.spec)

    def _give_up_unschedulable(self, one: Pass) -> None:
        """A pod placed on a node that has no CPU or memory for it is deleted and, for a while, placed elsewhere."""
        for key, pod in one.world.unbound.items():
            scheduled = condition(pod.status.conditions, "PodScheduled")
            if scheduled is None or scheduled.reason != "Unschedulable":
                continue
            since = scheduled.last_transition_time
            placed_on = pod.spec.node_selector.get("kubernetes.io/hostname")
            if not placed_on or since is None or one.now - since.timestamp() < UNSCHEDULABLE_S:
                continue
            self._move(one, key, pod, placed_on, scheduled.message)

    def _move(self, one: Pass, key: PodKey, pod: Pod, hostname: str, message: str) -> None:
        revision = revision_key(pod)
        node = next((n for n in one.world.nodes.values() if hostname in _names(n)), None)
        if keys.SLICE_GPU not in pod.metadata.annotations or node is None or not self._writer.evict(key, one.now):
            return
        place = (revision, node.metadata.name)
        times = self._avoid.get(place, (0.0, 0))[1] + 1
        self._avoid[place] = (one.now + AVOID_S * 2.0 ** min(times - 1, 5), times)
        facts = (reason("node-has-no-room", node=node.metadata.name, message=message),)
        self._telling.evicted(key, one.podautoscalers.get(revision), facts)


def _admitted(pod: Pod) -> str | None:
    """The context of the pod's admission, where it was recorded: an unrecorded parent would silence the span."""
    context = pod.metadata.annotations.get(keys.SLICE_TRACEPARENT, "")
    return context if recorded(context) else None


def _names(node: Node) -> tuple[str, str]:
    return node.metadata.name, node.metadata.labels.get("kubernetes.io/hostname", "")
