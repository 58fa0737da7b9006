"""Adapter cluster: Kubernetes Events. Never blocks, never fails its caller: what can't be told is dropped and counted.

The same story of the same object within ten minutes is one Event whose count grows, as with Kubernetes' own recorder.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, TypeVar

from .errors import ClusterError, NotFound
from .metadata import Metadata
from .patch import merge_patch
from .paths import EVENTS, collection, named
from .session import Session

log = logging.getLogger(__name__)

K = TypeVar("K")

QUEUE_SIZE = 1000
SAME_STORY_S = 600.0
# Of an object so much may be told at once, then one story each REFILL_S. What is normal comes as often as client-go
# lets it: a quota changes twice a minute, and the API server keeps each story for an hour.
BURST = 25
REFILL_S: Mapping[str, float] = {"Normal": 300.0, "Warning": 10.0}
_MESSAGE_BYTES = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Regarding:
    """The object that an Event is about; ``namespace`` is empty for cluster-scoped kinds."""

    api_version: str
    kind: str
    namespace: str
    name: str
    uid: str

    @classmethod
    def of(cls, api_version: str, kind: str, metadata: Metadata) -> Regarding:
        """From an object's metadata."""
        return cls(
            api_version=api_version, kind=kind, namespace=metadata.namespace, name=metadata.name, uid=metadata.uid
        )


@dataclass(frozen=True, slots=True)
class _Story:
    regarding: Regarding
    type: Literal["Normal", "Warning"]
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class _Told:
    name: str
    count: int
    at: float


@dataclass(frozen=True, slots=True)
class _Allowance:
    left: float
    at: float


Dated = TypeVar("Dated", _Told, _Allowance)


class EventRecorder:
    """Writes Events from a thread of its own."""

    def __init__(self, session: Session, component: str, *, clock: Callable[[], float] = time.time) -> None:
        self._session, self._component, self._clock = session, component, clock
        self._queue: deque[_Story] = deque(maxlen=QUEUE_SIZE)
        self._wake = threading.Condition()
        self._busy = False
        self._stopping = False
        self._told: dict[_Story, _Told] = {}
        self._allowances: dict[tuple[str, str], _Allowance] = {}
        """Both with who was told of longest ago first: what is forgotten is found without looking at the rest."""
        self.dropped = 0
        self._thread = threading.Thread(target=self._run, name="events", daemon=True)

    def start(self) -> EventRecorder:
        """Begins to write; returns itself."""
        self._thread.start()
        return self

    def stop(self, timeout_s: float = 2.0) -> None:
        """Writes what is queued, within the time given."""
        self.flush(timeout_s)
        with self._wake:
            self._stopping = True
            self._wake.notify_all()

    def event(self, regarding: Regarding, type: Literal["Normal", "Warning"], reason: str, message: str) -> None:
        """Queues one; ``reason`` is CamelCase, ``message`` a sentence."""
        story = _Story(regarding, type, reason, message[:_MESSAGE_BYTES])
        with self._wake:
            if len(self._queue) == QUEUE_SIZE:
                self.dropped += 1
            self._queue.append(story)
            self._wake.notify_all()

    def flush(self, timeout_s: float) -> bool:
        """Waits until all is written."""
        with self._wake:
            return self._wake.wait_for(lambda: not self._queue and not self._busy, timeout_s)

    def _run(self) -> None:
        while True:
            with self._wake:
                self._busy = False
                self._wake.notify_all()
                self._wake.wait_for(lambda: self._queue or self._stopping)
                if not self._queue:
                    return
                story, self._busy = self._queue.popleft(), True
            try:
                self._tell(story, self._clock())
            except ClusterError as error:
                self.dropped += 1
                log.warning("event %s of %s: %s", story.reason, story.regarding.name, error)

    def _tell(self, story: _Story, now: float) -> None:
        if not self._allowed(story, now):
            self.dropped += 1
            return
        self._forget(now)
        told = self._told.pop(story, None)
        if told is None:
            self._told[story] = _Told(self._create(story, now), 1, now)
            return
        self._told[story] = told = _Told(told.name, told.count + 1, now)
        namespace = story.regarding.namespace or "default"
        try:
            body = {"count": told.count, "lastTimestamp": _stamp(now)}
            merge_patch(self._session, named(EVENTS, namespace, told.name), body)
        except NotFound:  # the API server keeps Events for an hour only
            self._told[story] = _Told(self._create(story, now), 1, now)

    def _create(self, story: _Story, now: float) -> str:
        about = story.regarding
        namespace = about.namespace or "default"
        name = f"{about.name[:200]}.{time.time_ns():x}"
        body = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": namespace},
            "involvedObject": {
                "apiVersion": about.api_version,
                "kind": about.kind,
                "namespace": about.namespace,
                "name": about.name,
                "uid": about.uid,
            },
            "type": story.type,
            "reason": story.reason,
            "message": story.message,
            "count": 1,
            "firstTimestamp": _stamp(now),
            "lastTimestamp": _stamp(now),
            "source": {"component": self._component},
            "reportingComponent": self._component,
        }
        self._session.request("POST", collection(EVENTS, namespace), body=body, timeout_s=5.0)
        return name

    def _allowed(self, story: _Story, now: float) -> bool:
        key = story.regarding.uid, story.type
        before = self._allowances.pop(key, _Allowance(BURST, now))
        left = min(BURST, before.left + (now - before.at) / REFILL_S[story.type])
        self._allowances[key] = _Allowance(left - 1 if left >= 1 else left, now)
        return left >= 1

    def _forget(self, now: float) -> None:
        _forget_oldest(self._told, now - SAME_STORY_S)
        _forget_oldest(self._allowances, now - BURST * max(REFILL_S.values()))


def _forget_oldest(kept: dict[K, Dated], before: float) -> None:
    while kept and (oldest := next(iter(kept.items())))[1].at <= before:
        del kept[oldest[0]]


def _stamp(now: float) -> str:
    return datetime.fromtimestamp(now, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
