"""Process autoscaler: planned moves, carried out. Decides nothing; what a leader leaves to the next stands on pods.

On a pod that is to be moved stands for which GPU, on its twin whose place it takes. Who wins the Lease reads both and
goes on. The moves themselves are made by the revisions' own decisions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import msgspec

from hasgpu.cluster.objects import Pod
from hasgpu.decision.moves import Cluster, Moves, Moving, asked, next_moves, resumed
from hasgpu.decision.placement import SliceWish
from hasgpu.model import annotations as keys
from hasgpu.model.decision import Decision
from hasgpu.model.intent import GpuIntent
from hasgpu.model.keys import PodKey, RevisionKey
from hasgpu.settings.store import ConfigStore

from .allocator import Pass
from .gpu_world import GpuWorld, pod_key, revision_key
from .node_rules import allows
from .plan_book import PlanBook
from .scaled_revision import ScaledRevision
from .slice_writer import HOSTNAME_LABEL, SliceWriter
from .telling import Telling


class PlannedMoves:
    """Used by the one thread that allocates."""

    def __init__(self, settings: ConfigStore, plans: PlanBook, writer: SliceWriter, telling: Telling) -> None:
        self._settings, self._plans, self._writer, self._telling = settings, plans, writer, telling
        self._moves, self._new = Moves(), True

    def begin(self) -> None:
        """Another leads, or this replica does from now on."""
        self._moves, self._new = Moves(), True

    def moving(self, revision: RevisionKey) -> Moving | None:
        """The move of a revision's pod, where one is being made."""
        return self._moves.of(revision)

    def prepare(self, one: Pass, records: Mapping[RevisionKey, ScaledRevision], *, settled: bool) -> None:
        """Before waiting pods are placed: none goes to a GPU that is emptied, and one may be a twin.

        ``settled``: who can be heard was. Before, a GPU whose agent was not takes no pods, and a move that was begun
        may seem impossible.
        """
        if self._new:
            self._moves = self._resumed(one, records)
            self._new = self._moves.plan is None and not settled
            if not self._new:
                # Of moves that can't be gone on with, or are turned off, nothing is left.
                self._mark(one)
        one.ledger.emptying = self._moves.emptying
        plan = self._moves.plan
        if plan is None or self._moves.twin is not None:
            return
        move = plan.moves[0]
        twin = _twins(one.world.pods_of.get(move.revision, ())).get(move.pod.uid)
        if twin is not None:
            self._moves = asked(self._moves, twin)
        elif self._moves.asked and not self._plans.of(move.revision):
            old = one.ledger.placement(move.pod)
            if old is not None and any(revision_key(pod) == move.revision for pod in one.world.waiting):
                self._plans.add(move.revision, (move.wanted,), old.processes, "", one.now, twin_of=move.pod.uid)

    def look(self, one: Pass, records: Mapping[RevisionKey, ScaledRevision]) -> None:
        """After they are placed."""
        starved = tuple(each.wish for each in one.starved)
        if not self._moves.due(one.policy, one.now, starved=bool(starved)):
            return
        calm = {key: record for key, record in records.items() if record.state.movable}
        wishes = self._wishes(one, calm)
        seen = Cluster(ledger=one.ledger, wishes=wishes, starved=starved)
        before = self._moves
        self._moves = next_moves(before, seen, one.policy, one.now)
        for revision in self._moves.given_up.keys() - before.given_up.keys():
            if before.asked:
                self._tell_given_up(one, revision, before.emptying)
        self._mark(one)

    def ask(self, decision: Decision) -> str:
        """UID of the pod whose twin the decision asks for; empty where it asks for none."""
        moving = self._moves.of(decision.key)
        if moving is None or decision.plans != (moving.move.wanted,):
            return ""
        self._moves = asked(self._moves)
        return moving.move.pod.uid

    def _resumed(self, one: Pass, records: Mapping[RevisionKey, ScaledRevision]) -> Moves:
        marks = _marks(one.world)
        if not marks:
            return Moves()
        twins = _twins(one.world.pods.values())
        by_pod = {pod: twins[pod.uid] for pod in marks if pod.uid in twins}
        seen = Cluster(ledger=one.ledger, wishes=self._wishes(one, records), starved=())
        found = resumed(marks, by_pod, seen, one.policy, one.now)
        waiting = {revision_key(pod) for pod in one.world.waiting}
        if found.plan is not None and found.twin is None:
            # A pod was asked for already, and is to be the twin.
            first = sorted(found.plan.moves, key=lambda move: move.revision not in waiting)
            there = first[0].revision in waiting
            found = replace(found, plan=replace(found.plan, moves=tuple(first)), asked=there)
        return found

    def _tell_given_up(self, one: Pass, revision: RevisionKey, frees: str | None) -> None:
        policy = one.policy
        said = (
            f"a pod was to be moved, which would have freed GPU {frees}, but the pod that was to take its place did not"
            f" serve within {policy.move_most_s:.0f} s; no other is made for {policy.in_vain_s / 60.0:.0f} min"
        )
        if revision in one.podautoscalers:
            self._telling.warn(one.podautoscalers[revision], "MoveGivenUp", said)

    def _mark(self, one: Pass) -> None:
        """What the next leader would need."""
        plan, there = self._moves.plan, _marks(one.world)
        wanted = {move.pod for move in plan.moves} if plan is not None else set()
        for key in wanted - there.keys():
            if plan is not None and key in one.world.pods:
                self._writer.mark_moving(one.world.pods[key], plan.frees, one.now)
        for key, frees in there.items():
            if frees != self._moves.emptying and not one.world.pods[key].terminating:
                self._writer.mark_moving(one.world.pods[key], "", one.now)

    def _wishes(self, one: Pass, records: Mapping[RevisionKey, ScaledRevision]) -> Mapping[RevisionKey, SliceWish]:
        """Of those revisions that may have one pod more for a while."""
        nodes, found = dict[object, frozenset[str]](), {}
        for key, pa in one.podautoscalers.items():
            placed = one.world.placements_of(key)
            if not placed or key not in records:
                continue
            read = records[key].asked(pa, self._settings)
            if read.intent is not None and not (read.most and len(placed) >= read.most):
                found[key] = _wish(read.intent, _nodes(one.world, one.world.pods_of[key][0], nodes))
        return found


def _marks(world: GpuWorld) -> dict[PodKey, str]:
    """Pods that are to be moved, and for which GPU."""
    found = ((key, pod.metadata.annotations.get(keys.SLICE_MOVES_FOR)) for key, pod in world.pods.items())
    return {key: frees for key, frees in found if frees}


def _twins(pods: Iterable[Pod]) -> dict[str, PodKey]:
    """By the UID of the pod whose place they take."""
    found = ((pod.metadata.annotations.get(keys.SLICE_TWIN_OF), pod) for pod in pods)
    return {uid: pod_key(pod) for uid, pod in found if uid}


def _wish(intent: GpuIntent, nodes: frozenset[str]) -> SliceWish:
    """Where a pod may go; how large it is is known from its slice."""
    return SliceWish(
        sm_partition=intent.sm_partition,
        quota=intent.quota,
        memory_bytes=intent.memory_bytes or 0,
        processes=intent.gpu_processes,
        gpu_product=intent.gpu_product,
        nodes=nodes,
        tables={},
    )


def _nodes(world: GpuWorld, pod: Pod, known: dict[object, frozenset[str]]) -> frozenset[str]:
    """What the pod's own rules allow: not the node that it was given. Most pods have the same rules."""
    selector = {key: value for key, value in pod.spec.node_selector.items() if key != HOSTNAME_LABEL}
    rules = msgspec.structs.replace(pod.spec, node_selector=selector)
    same = (tuple(sorted(selector.items())), repr(rules.affinity), rules.tolerations)
    if same not in known:
        known[same] = frozenset(name for name, node in world.nodes.items() if allows(node, rules))
    return known[same]
