"""Process autoscaler: class has.autoscaling.hasgpu.dev. On the leader alone: looks, places, decides, writes, tells.

One thread owns everything but ``_wanted``, which reconcile workers read. The order of the work is the order of need:
pods that wait are placed first, then one revision after the other is decided and written, those first whose stats ask
for more than was decided for. All over one ledger, which knows what everybody needs; it is made anew ten times a
second, and as soon as somebody asks. A tick works for a moment only, so that no stat waits for long.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from hasgpu.cluster.knative import PodAutoscaler
from hasgpu.decision.hybrid import decide
from hasgpu.decision.policy import Policy
from hasgpu.decision.precedence import take_precedence
from hasgpu.decision.row_needs import tell_needs
from hasgpu.model import annotations as keys
from hasgpu.model.decider import DeciderSpec
from hasgpu.model.decision import Decision
from hasgpu.model.keys import RevisionKey
from hasgpu.model.load import StatMessage
from hasgpu.prediction.forecast_board import ForecastBoard, Horizon

from . import revision_spec
from .agenda import TICK_S, Agenda
from .allocator import Allocator, Pass
from .decision_writer import DecisionWriter
from .gpu_world import RowKey
from .load_book import LoadBook, ServiceRevision
from .lookout import Lookout
from .observed_load import ObservedLoad, horizons
from .our_revisions import OurRevisions
from .own_writes import OwnWrites
from .plan_book import PlanBook
from .planned_moves import PlannedMoves
from .profile_book import ProfileBook
from .profile_fitting import ProfileFitting
from .recorded_load import SlotClock
from .revision_intents import RevisionIntents, intent_of
from .revision_views import SETTLE_S, Hearing, RevisionViews
from .scaled_revision import ScaledRevision, raises_only
from .scaling_class import UNKNOWN, Wanted
from .slice_writer import SliceWriter
from .surroundings import Surroundings
from .telling import Telling

log = logging.getLogger(__name__)

FRESH_S = 0.1
"""A look serves for so long: what pods and agents do meanwhile can wait."""
STEP_S = 0.02
"""A tick begins no decision after so long: a stat may have come."""


@dataclass(slots=True)
class _Round:
    """One look at the cluster, and whom it is still to be used for."""

    one: Pass
    looked_s: float
    due: deque[RevisionKey]
    decided: set[RevisionKey] = field(default_factory=set)
    """Once is enough, since nothing else is known."""

    def fresh_s(self, now: float) -> float:
        """Seconds that it may still be used for; none after the clock was set back."""
        left_s = self.looked_s + FRESH_S - now
        return left_s if left_s <= FRESH_S else 0.0


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
        self._loads, self._slots = LoadBook(self._book, around.settings), SlotClock()
        if fit is not None:
            served, loads, leads = self._book.served, self._loads.histories, around.still_leading
            ProfileFitting(around.session, around.profiles, served, loads, leads, fit).start()
        self._telling = Telling(around.events, around.cloudevents, around.metrics)
        self._views = RevisionViews(around, self._intents, self._book, self._loads, self._plans, self._telling)
        self._lookout = Lookout(around, self._own_writes)
        self._ours = OurRevisions()
        self._agenda = Agenda()
        writer = SliceWriter(around.session, self._own_writes, around.still_leading)
        self._writer = DecisionWriter(around, writer, self._telling)
        self._allocator = Allocator(self._intents, self._plans, writer, self._telling, around.tracing)
        self._moves = PlannedMoves(around.settings, self._plans, writer, self._telling)
        self._records: dict[RevisionKey, ScaledRevision] = {}
        self._forecasts = self._empty_board()
        self._lock = threading.Lock()
        self._wanted: dict[RevisionKey, int] = {}
        self._scaled: deque[tuple[RevisionKey, int, int]] = deque(maxlen=1000)
        self._leading = False
        self._led_from_s = 0.0
        self._missed_s = 0.0
        """When some activator was not connected, last."""
        self._hearing = Hearing(led_from_s=0.0, trusts_silence=False)
        self._round: _Round | None = None

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
        self._round = None
        self._telling.forget_all()
        self._records.clear()
        self._forecasts = self._empty_board()
        self._agenda.clear()
        self._plans.clear()
        self._moves.begin()
        self._own_writes.clear()
        self._lookout.forget()
        self._book.clear()
        self._loads.clear()
        self._slots = SlotClock()
        self._allocator.begin(now)
        with self._lock:
            self._wanted.clear()

    def on_stats(self, messages: Sequence[StatMessage], now: float) -> None:
        """Load, on arrival; who asks for more than was decided for is decided by the tick that follows."""
        for message in messages:
            self._record(message.key, now).load.take(message, now)
        drain_s = self._policy().drain_s
        for key in {message.key for message in messages}:
            shortage = self._records[key].shortage(now, drain_s)
            if shortage > 1.0:
                self._agenda.ask(key, shortage)
                self._round = None

    def scaled(self, key: RevisionKey, before: int, after: int) -> None:
        """Told by a reconcile worker; the next tick tells the world."""
        self._scaled.append((key, before, after))
        self._around.wake()

    def metrics(self) -> Sequence[tuple[str, Mapping[str, str], float]]:
        """Of who allocates; the revisions' gauges are set as they are decided."""
        if not self._leading:
            return []
        return [("hasgpu.allocator.silence.trusted", {}, 1.0 if self._hearing.trusts_silence else 0.0)]

    def tick(self, now: float) -> float:
        """Places, decides and writes for a moment; seconds until there is more to do, as far as is known."""
        if not self._leading or not self._synced():
            return TICK_S
        began, current, lags_s = time.perf_counter(), self._round, []
        if current is None or current.fresh_s(now) <= 0.0:
            current = self._round = self._look(now)
            lags_s = [now - written for written in current.one.world.acknowledged]
        elif not current.due:
            return current.fresh_s(now)
        current.one.now = now
        while current.due and time.perf_counter() - began < STEP_S:
            key = current.due.popleft()
            if key not in current.decided:
                self._take_turn(current, key)
        self._telling.passed(time.perf_counter() - began, lags_s)
        self._tell_scaled(current.one)
        return 0.0 if current.due else max(current.fresh_s(now), self._agenda.next_s(now))

    def _look(self, now: float) -> _Round:
        """The cluster as of now; waiting pods are placed, and the ledger knows what all needed last."""
        if not self._around.all_connected(now):
            self._missed_s = now
        self._hearing = Hearing(led_from_s=self._led_from_s, trusts_silence=now - self._missed_s >= SETTLE_S)
        world = self._lookout.look(now)
        ledger = self._lookout.ledger()
        ours = self._ours.follow(self._around.caches.podautoscalers.snapshot())
        self._keep_only(ours, now)
        self._observe(now)
        self._record_loads(ours, now)
        self._plans.enter(ledger, now)
        one = Pass(world=world, ledger=ledger, policy=self._policy(), podautoscalers=ours, now=now)
        self._moves.prepare(one, self._records, settled=self._hearing.trusts_silence)
        self._allocator.run(one)
        if self._hearing.trusts_silence:  # else nothing is lowered, so nobody can give way
            self._moves.look(one, self._records)
            for key in ours:
                for need in self._records[key].needs:
                    ledger.tell(need)
        for newcomer in one.starved:
            take_precedence(ledger, newcomer)
        called = {*one.caps} | _in_rows(one, ledger.reserved())
        return _Round(one, now, deque(self._agenda.due(ours, world, called, now)))

    def _take_turn(self, current: _Round, key: RevisionKey) -> None:
        """Decides for one revision and writes what is decided; whoever is to make room for it comes next."""
        one = current.one
        record, pa, asks = self._record(key, one.now), one.podautoscalers[key], self._agenda.asks(key)
        current.decided.add(key)
        decision, reserved = None, {*one.ledger.reserved()}
        try:
            decision = self._decide(one, pa, record)
            if decision is not None:
                self._write(one, decision, pa, record)
        except Exception:
            # The revision's edge: what one brings up must not stop the scaling of all others.
            log.exception("%s: not decided", key)
        waits = decision is not None and bool(decision.waiting_changes)
        self._agenda.decided(key, one.world, one.now, waits=waits)
        if decision is not None:
            called = _in_rows(one, one.ledger.reserved() - reserved)
            called |= one.world.mates_of(key) if waits and asks else set()
            current.due.extendleft(sorted(each for each in called if each in one.podautoscalers))

    def _decide(self, one: Pass, pa: PodAutoscaler, record: ScaledRevision) -> Decision | None:
        seen = self._views.see(one, pa, record, self._hearing)
        if seen is None:
            return None
        view, policy = seen
        moving = self._moves.moving(view.key)
        if moving is not None:
            view = replace(view, moving=moving)
        if self._hearing.trusts_silence:
            tell_needs(view, one.ledger, record.state, policy, one.now)
            told = (one.ledger.need_of(each.pod) for each in view.placements)
            record.needs = tuple(need for need in told if need is not None)
        decision, record.state = decide(view, one.ledger, record.state, policy, one.now)
        record.decision = decision if self._hearing.trusts_silence else raises_only(decision, view.replicas)
        return record.decision

    def _tell_scaled(self, one: Pass) -> None:
        while self._scaled:
            key, before, after = self._scaled.popleft()
            if key in one.podautoscalers and key in self._records:
                self._writer.scaled(one.podautoscalers[key], self._records[key], before, after, one.now)

    def _write(self, one: Pass, decision: Decision, pa: PodAutoscaler, record: ScaledRevision) -> None:
        pods = self._writer.carry_out(decision, pa, record, one.world, one.now)
        if decision.plans:
            processes = int(pa.metadata.annotations.get(keys.GPU_PROCESSES, "1"))
            twin_of = self._moves.ask(decision)
            self._plans.add(decision.key, decision.plans, processes, record.decided_in, one.now, twin_of=twin_of)
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

    def _keep_only(self, ours: Mapping[RevisionKey, PodAutoscaler], now: float) -> None:
        """Revisions that are gone are forgotten; a new one starts from what its service was serving."""
        self._agenda.keep_only(ours)
        self._book.keep_only(self._ours.profiles())
        for key in self._records.keys() - ours.keys():
            gone = self._records.pop(key).load
            self._loads.left(key, gone.requests)
            gone.leave()
            self._plans.drop(key)
            self._telling.forget(key)
        new = [ours[key] for key in ours.keys() - self._records.keys()]
        if not new:
            return
        siblings = {_service(ours[key]): each.load for key, each in self._records.items() if each.load.known}
        for pa in new:
            record = self._record(RevisionKey(pa.metadata.namespace, pa.metadata.name), now)
            sibling = siblings.get(_service(pa))
            if sibling is not None and _service(pa)[1] and revision_spec.reachable(pa):
                record.load.follow(sibling)

    def _observe(self, now: float) -> None:
        """What was reported, and where silence may be believed the silence, of all revisions at once."""
        wanted = self._horizons()
        if wanted != self._forecasts.horizons:
            self._forecasts.aim(*wanted)
        if self._hearing.trusts_silence:
            for record in self._records.values():
                record.load.tick(now)
        self._forecasts.settle()

    def _record_loads(self, ours: Mapping[RevisionKey, PodAutoscaler], now: float) -> None:
        """Once in five minutes."""
        ended = self._slots.ended(now, known=self._hearing.trusts_silence)
        if ended is None:
            return
        slot, known = ended
        heard = []
        for key, pa in ours.items():
            intent = intent_of(pa.metadata.annotations, pa.metadata.labels)
            if intent is not None:
                heard.append((ServiceRevision.of(pa, intent.profile), self._records[key].load.requests))
        self._loads.record(slot, heard, known=known)

    def _empty_board(self) -> ForecastBoard:
        return ForecastBoard(*self._horizons())

    def _horizons(self) -> tuple[Horizon, Horizon]:
        return horizons(self._around.settings.hasgpu.value.risk_quantile, Policy().startup_s)

    def _synced(self) -> bool:
        around = self._around
        return around.pods.synced and around.gpus.synced and around.nodes.synced and around.profiles.synced

    def _policy(self) -> Policy:
        settings = self._around.settings.hasgpu.value
        return Policy(
            replace_after_s=settings.replace_after_s,
            recreate=settings.replace == "recreate",
            move_after_s=settings.move_after_s,
        )


def _service(pa: PodAutoscaler) -> tuple[str, str]:
    return pa.metadata.namespace, pa.metadata.labels.get(keys.SERVICE_LABEL, "")


def _in_rows(one: Pass, rows: Iterable[tuple[str, int]]) -> set[RevisionKey]:
    """Who has pods there."""
    return {mate.revision for row in rows for mate in one.world.in_row.get(RowKey(*row), ())}
