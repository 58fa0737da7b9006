"""Process simulator: one pod: a queue before one inference at a time. Advances lazily, told the time.

What is done is decided in the order of time but computed only when somebody asks: ``advance`` starts every inference
that must have started by then. A completion is known at its start, and revised when the lane changes under it.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from hasgpu.model.gpu import GpuSlice, Placement
from hasgpu.model.keys import PodKey, RevisionKey

from .lane import GRAIN_S, OPEN, Lane
from .requests import Requests

Pace = Callable[["Pod", float], float]
"""How much longer an inference takes that starts now, for what runs beside it."""


class Together(Protocol):
    """Pods that can only be advanced together: what one does depends on the others."""

    def advance(self, until_s: float) -> None:
        """All of them."""


class Pod:
    """``slice`` is what the allocator wrote, ``laid_percent`` what the GPU's table says."""

    __slots__ = (
        "_batch",
        "_batch_size",
        "_left_s",
        "_saved_s",
        "_seen_s",
        "_started_s",
        "borrowed_s",
        "busy_s",
        "free_s",
        "gone_s",
        "key",
        "laid_generation",
        "laid_percent",
        "lane",
        "pace",
        "priority",
        "queue",
        "ready",
        "requests",
        "rest_s",
        "revision",
        "seconds_of",
        "slice",
        "terminating",
        "together",
        "work_of",
    )

    def __init__(
        self,
        key: PodKey,
        revision: RevisionKey,
        wanted: GpuSlice,
        requests: Requests,
        batch: int,
        priority: int = 0,
    ) -> None:
        self.key, self.revision, self.slice, self.requests = key, revision, wanted, requests
        self.priority = priority
        self.laid_percent, self.laid_generation = wanted.time_quota.percent, wanted.generation
        self.ready = self.terminating = False
        self.gone_s = math.inf
        self.queue: deque[int] = deque()
        self.free_s = 0.0
        self.busy_s = 0.0
        self.borrowed_s = 0.0
        """Time of others in its row that it used."""
        self.together: Together | None = None
        self.lane: Lane = OPEN
        self.pace: Pace | None = None
        self.rest_s = math.inf
        """After so long without work an inference is not slowed by the quota."""
        self.seconds_of: Sequence[float] = ()
        """Seconds of open lane that an inference takes, by its number of requests."""
        self.work_of: Sequence[float] = ()
        """GPU seconds of the same."""
        self._batch_size = batch
        self._batch: list[int] = []
        self._started_s = self._left_s = 0.0
        self._saved_s, self._seen_s = 0.0, math.inf
        """Lane time saved, and when: nothing before the first inference."""

    @property
    def sm_percent(self) -> int:
        """Its SM share."""
        return self.slice.sm_partition.percent

    def placement(self) -> Placement:
        """As the allocator's ledger has it."""
        return Placement(
            pod=self.key,
            revision=self.revision,
            slice=self.slice,
            ready=self.ready and not self.terminating,
            terminating=self.terminating,
            priority=self.priority,
            applied_generation=self.laid_generation,
            applied_quota_percent=self.laid_percent,
        )

    def running(self, now: float) -> bool:
        """True where an inference is under way or about to be."""
        return self.free_s > now or bool(self.queue)

    def in_flight(self, now: float) -> int:
        """Requests that were sent to it and are not done."""
        return len(self.queue) + (len(self._batch) if self.free_s > now else 0)

    def serves_from(self, now: float) -> None:
        """Its container is ready."""
        self.ready, self.free_s = True, max(self.free_s, now)

    def advance(self, now: float) -> None:
        """Starts all inferences that start before ``now``."""
        if self.together is not None:
            self.together.advance(now)
            return
        queue, requests, limit = self.queue, self.requests, self._batch_size
        if not queue or self.free_s > now:
            return
        arrived, finished, noise = requests.arrived_s, requests.finished_s, requests.noise
        lane, pace = self.lane, self.pace
        run, most_s, never_closes = lane.run, lane.most_saved_s, lane.never_closes
        free, seconds_of, work_of, rest = self.free_s, self.seconds_of, self.work_of, self.rest_s
        saved, seen = self._saved_s, self._seen_s
        while queue and free <= now:
            first = queue.popleft()
            start = arrived[first]
            if start < free:
                start = free
            count = 1
            batch = [first]
            while count < limit and queue and arrived[queue[0]] <= start:
                batch.append(queue.popleft())
                count += 1
            part = noise[first] if pace is None else noise[first] * pace(self, start)
            left = (work_of if start - free >= rest else seconds_of)[count] * part
            if start > seen and saved != most_s and most_s:
                saved = lane.saved(saved, seen, start)
            if never_closes:
                free = start + left
            else:
                free, _, saved = run(start, left, saved)
            if free < math.inf:
                seen = free
            self.busy_s += work_of[count] * part
            for each in batch:
                finished[each] = free
            self._batch, self._started_s, self._left_s = batch, start, left
        self.free_s, self._saved_s, self._seen_s = free, saved, seen

    def at_work(self, now: float) -> bool:
        """Together with others: true where an inference is under way, or begins now."""
        if not self._batch and self.ready and self.queue and self.requests.arrived_s[self.queue[0]] <= now:
            self._begin(now)
        return bool(self._batch)

    def waiting_since_s(self) -> float:
        """Together with others: when the request came that it is at."""
        return self.requests.arrived_s[self._batch[0]]

    def saved_s(self, now: float) -> float:
        """Lane time that it has saved by now and may spend past a span. Nothing is saved while it is parked."""
        if self.lane.most_saved_s:
            self._saved_s, self._seen_s = self.lane.saved(self._saved_s, self._seen_s, now), now
        return self._saved_s

    def lose_until(self, until_s: float) -> None:
        """Together with others: has work, and a mate runs on in its span, which it is charged for."""
        self._seen_s = until_s

    def work_until(self, now: float, until_s: float) -> float:
        """Together with others: has the row for itself from now on; until when it needs it, at most as told."""
        self.saved_s(now)
        end = min(until_s, now + self._left_s)
        self.borrowed_s += end - now - self.lane.done(now, end)
        return self._worked(end, self._left_s - (end - now))

    def work_on_lane(self, now: float, until_s: float) -> float:
        """Together with others: the same in its own spans and in what it saved alone."""
        end, left_s, self._saved_s = self.lane.run(now, self._left_s, self.saved_s(now), until_s)
        return self._worked(end, left_s)

    def _worked(self, end: float, left_s: float) -> float:
        self._seen_s, self._left_s = end, left_s
        if left_s <= GRAIN_S:
            for each in self._batch:
                self.requests.finished_s[each] = end
            self._batch, self.free_s = [], end
        return end

    def _begin(self, now: float) -> None:
        arrived = self.requests.arrived_s
        batch = [self.queue.popleft()]
        while len(batch) < self._batch_size and self.queue and arrived[self.queue[0]] <= now:
            batch.append(self.queue.popleft())
        part = self.requests.noise[batch[0]] * (1.0 if self.pace is None else self.pace(self, now))
        self._left_s = self.seconds_of[len(batch)] * part
        self.busy_s += self.work_of[len(batch)] * part
        self._batch, self.free_s = batch, math.inf

    def relay(
        self,
        now: float,
        lane: Lane,
        seconds_of: Sequence[float],
        work_of: Sequence[float],
        together: Together | None = None,
    ) -> None:
        """The lane, the pace or the company changes now: what is under way ends at another time."""
        self.advance(now)
        if self.free_s <= now:
            self._batch = []
        elif self._batch:
            self._stop(now)
            self._left_s *= seconds_of[len(self._batch)] / self.seconds_of[len(self._batch)]
        self.lane, self.seconds_of, self.work_of, self.together = lane, seconds_of, work_of, together
        if self._batch:
            self._go_on(now)

    def _stop(self, now: float) -> None:
        """What is left of the inference under way, and what is saved by now."""
        if self.together is not None:
            self.saved_s(now)
        elif self.free_s < math.inf:
            saved_s = max(0.0, self._saved_s + self._left_s - self.lane.done(self._started_s, self.free_s))
            _, self._left_s, self._saved_s = self.lane.run(self._started_s, self._left_s, saved_s, now)
            self._seen_s = now

    def _go_on(self, now: float) -> None:
        self.free_s, saved_s = math.inf, self.saved_s(now)
        if self.together is None:
            self._started_s = now
            self.free_s, _, self._saved_s = self.lane.run(now, self._left_s, saved_s)
            if self.free_s < math.inf:
                self._seen_s = self.free_s
        for each in self._batch:
            self.requests.finished_s[each] = self.free_s
