"""Adapter cluster: leadership by a Lease. Knows nothing of what the leader does.

As in client-go, another's lease is judged by when *we* saw it change, never by comparing clocks of two machines.
``still_leading()`` is the fence to ask before every write: it turns false ``lease - deadline`` before others may take
over, even while the elector's own thread hangs in a request. A leader that gets no answer for so long need not have
lost the Lease, since perhaps nobody took it: it is in doubt, writes nothing, and the next answer tells. Periods are
taken on the monotonic clock: a wall clock that is set back must not make a leadership longer. The wall clock only
stamps the Lease.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime

import msgspec

from .errors import ClusterError, Conflict, NotFound
from .metadata import Metadata
from .objects import Lease, LeaseSpec
from .paths import LEASES, collection, named
from .session import Session, decode

log = logging.getLogger(__name__)

_UNANSWERED_S = 1.0
"""From one round to the next while there is no answer at all: asking costs nobody anything then, waiting does."""


class Elector:
    """Runs for a Lease until stopped. Callbacks run in the elector's thread and must be quick.

    ``on_gained`` also tells that a doubt is over: what was to be written meanwhile was not. ``on_lost`` tells that the
    Lease is another's or was given back.
    """

    def __init__(
        self,
        session: Session,
        *,
        namespace: str,
        name: str,
        identity: str,
        lease_duration_s: float = 15.0,
        renew_deadline_s: float = 10.0,
        retry_period_s: float = 2.0,
        on_gained: Callable[[], None] | None = None,
        on_lost: Callable[[], None] | None = None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        if not retry_period_s < renew_deadline_s < lease_duration_s:
            raise ValueError("a lease needs retry period < renew deadline < lease duration")
        self._session, self._namespace, self._name, self.identity = session, namespace, name, identity
        self._path = named(LEASES, namespace, name)
        self._lease_duration_s, self._renew_deadline_s = lease_duration_s, renew_deadline_s
        self._retry_period_s = retry_period_s
        self._clock, self._monotonic = clock, monotonic
        self._on_gained, self._on_lost = on_gained or (lambda: None), on_lost or (lambda: None)
        self._stopping = threading.Event()
        self._renewed_at: float | None = None
        self._written: Lease | None = None
        """The Lease as our last write left it; None where another may have changed it."""
        self._observed: LeaseSpec | None = None
        self._observed_at = 0.0
        self._leading = False
        self._thread = threading.Thread(target=self._run, name=f"lease {name}", daemon=True)

    def start(self) -> Elector:
        """Begins to run for it; returns itself."""
        self._thread.start()
        return self

    def stop(self, timeout_s: float = 5.0) -> None:
        """Stops and, where we lead, gives the lease back so that another takes it at once."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    @property
    def holder(self) -> str:
        """Who held the lease when last seen; empty where nobody did."""
        return (self._observed.holder_identity or "") if self._observed is not None else ""

    def still_leading(self, in_s: float = 0.0) -> bool:
        """Whether a write made now, or so much later without a renewal, is ours to make."""
        renewed_at, at = self._renewed_at, self._monotonic() + in_s
        return self._leading and renewed_at is not None and at - renewed_at < self._renew_deadline_s

    @property
    def leading(self) -> bool | None:
        """None is doubt: ours when last heard of, too long ago to write anything."""
        return True if self.still_leading() else None if self._leading else False

    def _run(self) -> None:
        while not self._stopping.is_set():
            asked_at, pause_s = self._monotonic(), self._retry_period_s
            try:
                held = self._acquire_or_renew(asked_at)
            except ClusterError as error:
                log.warning("lease %s/%s: %s", self._namespace, self._name, error)
                held = None
                if not error.status:
                    pause_s = min(pause_s, _UNANSWERED_S)
            except Exception:
                # The loop's edge: an elector that ends leaves a replica that serves and can never lead again.
                log.exception("lease %s/%s: a round failed", self._namespace, self._name)
                held = None
            self._settle(held, asked_at)
            # From its beginning: who hung in a request has waited, and a server that comes back finds us asking.
            self._stopping.wait(max(0.0, asked_at + pause_s - self._monotonic()))
        if self._leading:
            # First stop to lead, then let others: never the other way round.
            self._become(False)
            self._release()

    def _settle(self, held: bool | None, asked_at: float) -> None:
        """Takes the outcome of one round; None is a round without an answer, which leaves all to the fence."""
        if held:
            before = self.leading
            self._renewed_at = asked_at
            if not before:
                self._become(True)
        elif held is False and self._leading:
            self._become(False)

    def _become(self, leading: bool) -> None:
        self._leading = leading
        log.info("lease %s/%s: %s", self._namespace, self._name, "gained" if leading else "lost")
        try:
            (self._on_gained if leading else self._on_lost)()
        except Exception:
            log.exception("lease %s/%s: listener failed", self._namespace, self._name)

    def _acquire_or_renew(self, now: float) -> bool:
        """True: ours. False: somebody else's.

        A leader writes over what it wrote last without reading it, as client-go does: a conflict tells it to look.
        """
        written, self._written = self._written, None
        if self._leading and written is not None and self._write("PUT", written.metadata, written.spec, now):
            return True
        timeout_s = self._renew_deadline_s / 2
        try:
            lease = self._session.get(self._path, Lease, timeout_s=timeout_s)
        except NotFound:
            return self._write("POST", Metadata(name=self._name, namespace=self._namespace), None, now)
        if self._leading and not self._ours_throughout(lease.spec):
            # Who led between has decided otherwise: what was known before is not so any more, whoever leads now.
            self._become(False)
        self._observe(lease.spec, now)
        others = lease.spec.holder_identity not in (None, "", self.identity)
        expires_at = self._observed_at + float(lease.spec.lease_duration_seconds or self._lease_duration_s)
        if others and now < expires_at:
            return False
        return self._write("PUT", lease.metadata, lease.spec, now)

    def _ours_throughout(self, spec: LeaseSpec) -> bool:
        """Since our last write nobody else held it: whoever takes it counts up."""
        last = self._observed
        return spec.holder_identity == self.identity and (
            last is None or spec.lease_transitions == last.lease_transitions
        )

    def _observe(self, spec: LeaseSpec, now: float) -> None:
        if spec != self._observed:
            self._observed, self._observed_at = spec, now

    def _write(self, method: str, metadata: Metadata, old: LeaseSpec | None, now: float) -> bool:
        stamp = datetime.fromtimestamp(self._clock(), UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        ours_already = old is not None and old.holder_identity == self.identity
        transitions = (old.lease_transitions or 0) if old is not None else 0
        spec = LeaseSpec(
            holder_identity=self.identity,
            lease_duration_seconds=max(1, round(self._lease_duration_s)),
            acquire_time=old.acquire_time if old is not None and ours_already else stamp,
            renew_time=stamp,
            lease_transitions=transitions if old is None or ours_already else transitions + 1,
        )
        try:
            self._written = self._send(method, metadata, spec)
        except (Conflict, NotFound):
            return False
        self._observe(spec, now)
        return True

    def _send(self, method: str, metadata: Metadata, spec: LeaseSpec) -> Lease:
        kept = {"name": self._name, "namespace": self._namespace}
        if metadata.resource_version:
            kept |= {"resourceVersion": metadata.resource_version, "uid": metadata.uid}
        body = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {**kept, "labels": metadata.labels, "annotations": metadata.annotations},
            "spec": msgspec.to_builtins(spec),
        }
        path = collection(LEASES, self._namespace) if method == "POST" else self._path
        return decode(self._session.request(method, path, body=body, timeout_s=self._renew_deadline_s / 2), Lease)

    def _release(self) -> None:
        try:
            lease = self._session.get(self._path, Lease, timeout_s=2.0)
            if lease.spec.holder_identity == self.identity:
                spec = LeaseSpec(
                    holder_identity="",
                    lease_duration_seconds=1,
                    acquire_time=lease.spec.acquire_time,
                    renew_time=lease.spec.renew_time,
                    lease_transitions=lease.spec.lease_transitions,
                )
                self._send("PUT", lease.metadata, spec)
                self._observe(spec, self._monotonic())
        except ClusterError as error:
            log.warning("lease %s/%s: not released: %s", self._namespace, self._name, error)
