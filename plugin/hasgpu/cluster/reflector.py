"""Adapter cluster: a local copy of one collection, kept by list and watch. Reads only; decides nothing.

Invariant: for one object the copy never goes back to an older resourceVersion. Silence is not absence: ``age_s`` says
how long nothing, not even a bookmark, was heard, and whoever decides must look at it.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from typing import Generic, Literal, TypeVar

import msgspec

from .errors import ClusterError, Gone, NotReached, TooManyRequests, to_error
from .metadata import HasMetadata, Metadata
from .session import Session, Stream, decode

log = logging.getLogger(__name__)

T = TypeVar("T", bound=HasMetadata)

EventKind = Literal["ADDED", "MODIFIED", "DELETED"]

PAGE_SIZE = 500
WATCH_TIMEOUT_S = 300
# The server ends a watch after WATCH_TIMEOUT_S; a socket silent for longer than that is dead.
READ_TIMEOUT_S = 330.0
BACKOFF_FIRST_S = 0.5
BACKOFF_CAP_S = 30.0
NOT_REACHED_COUNTS = 3
"""Failures that count while nobody listens at all, so that pauses stay below two seconds: longer ones would spare
nobody, and a server that starts up and still refuses must not find us grown patient."""


class _ListMeta(msgspec.Struct, rename={"resource_version": "resourceVersion", "continue_": "continue"}):
    resource_version: str = ""
    continue_: str = ""


class _Page(msgspec.Struct):
    metadata: _ListMeta
    items: list[msgspec.Raw] | None = None


class _WatchEvent(msgspec.Struct):
    type: str
    object: msgspec.Raw


class _Bookmark(msgspec.Struct):
    metadata: Metadata


class _Failure(msgspec.Struct):
    code: int = 500
    message: str = ""
    reason: str = ""


class Reflector(Generic[T]):
    """Objects of ``path`` as of a moment ago. ``on_event`` runs in the reflector's thread and must be quick."""

    def __init__(
        self,
        session: Session,
        path: str,
        type: type[T],
        *,
        label_selector: str | None = None,
        field_selector: str | None = None,
        on_event: Callable[[EventKind, T | None, T | None], None] | None = None,
        clock: Callable[[], float] = time.time,
        read_timeout_s: float = READ_TIMEOUT_S,
        backoff_first_s: float = BACKOFF_FIRST_S,
    ) -> None:
        self._session, self._path, self._type = session, path, type
        self._on_event, self._clock = on_event, clock
        self._read_timeout_s, self._backoff_first_s = read_timeout_s, backoff_first_s
        selectors = {"labelSelector": label_selector, "fieldSelector": field_selector}
        self._selectors = {key: value for key, value in selectors.items() if value}
        self._objects: dict[tuple[str, str], T] = {}
        self._lock = threading.Lock()
        self._synced, self._stopping = threading.Event(), threading.Event()
        self._heard_at: float | None = None
        self._resource_version = ""
        self._stream: Stream | None = None
        self._thread = threading.Thread(target=self._run, name=f"reflector {path}", daemon=True)

    def start(self) -> Reflector[T]:
        """Begins to list and watch; returns itself."""
        self._thread.start()
        return self

    def stop(self, timeout_s: float = 5.0) -> None:
        """Ends the watch, also one blocked in a read."""
        self._stopping.set()
        with self._lock:
            if self._stream is not None:
                self._stream.close()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(timeout_s)

    @property
    def kind(self) -> str:
        """The plural name of what is watched."""
        return self._path.rpartition("/")[2]

    @property
    def synced(self) -> bool:
        """True once the first list is complete."""
        return self._synced.is_set()

    def wait_synced(self, timeout_s: float) -> bool:
        """Waits for the first list; False where it did not come in time."""
        return self._synced.wait(timeout_s)

    def age_s(self, now: float) -> float:
        """Seconds since anything was heard (a bookmark comes each minute); ``inf`` before the first list."""
        return float("inf") if self._heard_at is None else max(0.0, now - self._heard_at)

    def get(self, namespace: str, name: str) -> T | None:
        """One object; ``namespace`` is empty for cluster-scoped kinds."""
        with self._lock:
            return self._objects.get((namespace, name))

    def snapshot(self) -> tuple[T, ...]:
        """All objects, by value: later events don't change it."""
        with self._lock:
            return tuple(self._objects.values())

    def _run(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            try:
                if not self._resource_version:
                    self._list()
                heard = self._watch()
                failures = 0 if heard else failures + 1
                delay_s = 0.0 if heard else self._backoff_s(failures)
            except Gone:
                self._resource_version = ""
                failures += 1
                delay_s = self._backoff_s(failures) if failures > 1 else 0.0
            except TooManyRequests as error:
                failures += 1
                delay_s = max(error.retry_after_s, self._backoff_s(failures))
            except ClusterError as error:
                failures = min(failures + 1, NOT_REACHED_COUNTS) if isinstance(error, NotReached) else failures + 1
                delay_s = self._backoff_s(failures)
                if not self._stopping.is_set():
                    log.warning("reflector %s: %s; again in %.1f s", self._path, error, delay_s)
            except Exception:
                # The loop's edge: a watch that ends for good leaves its process blind without a word.
                failures += 1
                delay_s = self._backoff_s(failures)
                log.exception("reflector %s: failed; again in %.1f s", self._path, delay_s)
            self._stopping.wait(delay_s)

    def _backoff_s(self, failures: int) -> float:
        return random.uniform(0.0, min(BACKOFF_CAP_S, self._backoff_first_s * 2.0 ** min(failures - 1, 10)))

    def _list(self) -> None:
        listed: dict[tuple[str, str], T] = {}
        query = {**self._selectors, "limit": str(PAGE_SIZE)}
        if not self.synced:
            # From the server's memory, where it costs a tenth: the watch brings what is newer. Once we know something,
            # a list that may be older could take us back, so that one is read from the store.
            query["resourceVersion"] = "0"
        while True:
            page = self._session.get(self._path, _Page, query=query, timeout_s=30.0)
            for raw in page.items or []:
                if (each := self._decode(raw)) is not None:
                    listed[each.metadata.namespace, each.metadata.name] = each
            if not page.metadata.continue_:
                break
            query["continue"] = page.metadata.continue_
            query.pop("resourceVersion", None)
        self._heard_at = self._clock()
        with self._lock:
            known = dict(self._objects)
        for key, old in known.items():
            if key not in listed:
                self._store("DELETED", old)
        for each in listed.values():
            self._store("ADDED", each)
        self._resource_version = page.metadata.resource_version
        self._synced.set()

    def _watch(self) -> bool:
        """Watches until the server ends it; False where it ended before anything was heard or a second passed."""
        query = {
            **self._selectors,
            "watch": "true",
            "resourceVersion": self._resource_version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(WATCH_TIMEOUT_S - random.randrange(30)),
        }
        started_at, heard = time.monotonic(), False
        stream = self._session.stream(self._path, query, read_timeout_s=self._read_timeout_s)
        with self._lock:
            self._stream = stream
            if self._stopping.is_set():
                stream.close()
        with stream:
            for line in stream:
                if self._stopping.is_set():
                    break
                self._take(decode(line, _WatchEvent))
                self._heard_at, heard = self._clock(), True
        return heard or time.monotonic() - started_at > 1.0

    def _take(self, event: _WatchEvent) -> None:
        if event.type == "BOOKMARK":
            self._resource_version = decode(bytes(event.object), _Bookmark).metadata.resource_version
        elif event.type == "ERROR":
            failure = decode(bytes(event.object), _Failure)
            raise to_error(failure.code, f"watch {self._path}: {failure.message}", reason=failure.reason)
        elif event.type in ("ADDED", "MODIFIED", "DELETED"):
            found = self._decode(event.object)
            if found is not None:
                self._store("DELETED" if event.type == "DELETED" else "MODIFIED", found)
                self._resource_version = found.metadata.resource_version

    def _decode(self, raw: msgspec.Raw) -> T | None:
        """One object; an unreadable one is logged and skipped, since the others must not be lost with it."""
        try:
            return msgspec.json.decode(bytes(raw), type=self._type)
        except msgspec.MsgspecError as error:
            log.error("reflector %s: cannot read an object: %s: %.300s", self._path, error, bytes(raw))
            return None

    def _store(self, kind: EventKind, found: T) -> None:
        key = (found.metadata.namespace, found.metadata.name)
        with self._lock:
            old = self._objects.get(key)
            if old is not None and not _newer(found, old, or_same=kind == "DELETED"):
                return
            if kind == "DELETED":
                self._objects.pop(key, None)
            else:
                self._objects[key] = found
        if kind == "DELETED":
            self._tell("DELETED", old if old is not None else found, None)
        else:
            self._tell("ADDED" if old is None else "MODIFIED", old, found)

    def _tell(self, kind: EventKind, old: T | None, new: T | None) -> None:
        if self._on_event is None:
            return
        try:
            self._on_event(kind, old, new)
        except Exception:
            # The loop's edge: a listener's fault must not end the watch that all others live on.
            log.exception("reflector %s: listener failed on %s", self._path, kind)


def _newer(found: HasMetadata, old: HasMetadata, *, or_same: bool) -> bool:
    """resourceVersions compare as integers (Kubernetes >= 1.35 promises it, etcd always did)."""
    try:
        new_version, old_version = int(found.metadata.resource_version), int(old.metadata.resource_version)
    except ValueError:
        return True
    return new_version >= old_version if or_same else new_version > old_version
