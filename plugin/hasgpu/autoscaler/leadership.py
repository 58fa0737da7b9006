"""Process autoscaler: which replica acts for which revision. Runs for Knative's bucket Leases and the allocator's.

Writes Leases, and for each bucket held the Service and EndpointSlice that lead to this replica.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from hasgpu.cluster.errors import ClusterError, Conflict
from hasgpu.cluster.lease import Elector
from hasgpu.cluster.objects import Lease
from hasgpu.cluster.patch import merge_patch
from hasgpu.cluster.paths import ENDPOINT_SLICES, SERVICES, collection, named
from hasgpu.cluster.reflector import Reflector
from hasgpu.cluster.session import Session
from hasgpu.model.annotations import ALLOCATOR_LEASE, HAS_CLASS
from hasgpu.model.keys import RevisionKey
from hasgpu.settings.knative import LeaderElectionSettings

from .buckets import STATS_PORT, address, bucket_names, identity, owner

log = logging.getLogger(__name__)


class Leadership:
    """``on_change`` is called with a Lease's name and whether it is ours now; it must be quick."""

    def __init__(
        self,
        session: Session,
        *,
        namespace: str,
        pod_name: str,
        pod_ip: str,
        domain: str,
        election: LeaderElectionSettings,
        leases: Reflector[Lease],
        on_change: Callable[[str, bool], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._session, self._namespace, self._domain = session, namespace, domain
        self._pod_ip = pod_ip
        self._identity = identity(pod_name, pod_ip)
        self._leases, self._on_change, self._clock = leases, on_change, clock
        self.buckets = bucket_names(election.buckets)
        self._electors = {
            name: self._elector(name, election.lease_duration_s, election.renew_deadline_s, election.retry_period_s)
            for name in self.buckets
        }
        self._electors[ALLOCATOR_LEASE] = self._elector(ALLOCATOR_LEASE, 15.0, 10.0, 2.0)

    @property
    def leases(self) -> Sequence[str]:
        """All that this replica runs for."""
        return tuple(self._electors)

    def start(self) -> None:
        """Begins to run for all Leases."""
        for elector in self._electors.values():
            elector.start()

    def stop(self) -> None:
        """Gives up all Leases at once, so that another replica need not wait for their end."""
        stops = [threading.Thread(target=elector.stop) for elector in self._electors.values()]
        for each in stops:
            each.start()
        for each in stops:
            each.join()

    def lease_of(self, key: RevisionKey, scaling_class: str) -> str:
        """The Lease whose holder acts for a revision."""
        return ALLOCATOR_LEASE if scaling_class == HAS_CLASS else owner(self.buckets, key)

    def leads(self, key: RevisionKey, scaling_class: str) -> bool | None:
        """Whether this replica acts for a revision; None as for ``standing``."""
        return self.standing(self.lease_of(key, scaling_class))

    def holds(self, lease: str) -> bool:
        """Whether the Lease is ours now; an unknown one is not."""
        return self.standing(lease) is True

    def standing(self, lease: str) -> bool | None:
        """Ours, not ours, or in doubt (None): as it is when the API server is away, nothing is written or forgotten.

        Where our own requests hang, the watch may still show that another has taken it: then there is no doubt.
        """
        elector = self._electors.get(lease)
        ours = elector.leading if elector is not None else False
        return False if ours is None and self._holder(lease) not in ("", self._identity) else ours

    def _holder(self, lease: str) -> str:
        """As our watch shows it; empty where it shows none."""
        found = self._leases.get(self._namespace, lease)
        return (found.spec.holder_identity or "") if found is not None else ""

    def urls(self, lease: str) -> Sequence[str] | None:
        """Stat servers of another replica that holds the Lease, best first; None where this one does."""
        if self.holds(lease):
            return None
        holder = self._holder(lease)
        direct = address(holder)
        if direct is None or holder == self._identity:
            return ()
        if lease == ALLOCATOR_LEASE:
            return (direct,)
        return direct, f"ws://{lease}.{self._namespace}.svc.{self._domain}:{STATS_PORT}"

    def _elector(self, name: str, lease_s: float, deadline_s: float, retry_s: float) -> Elector:
        return Elector(
            self._session,
            namespace=self._namespace,
            name=name,
            identity=self._identity,
            lease_duration_s=lease_s,
            renew_deadline_s=deadline_s,
            retry_period_s=retry_s,
            on_gained=lambda: self._changed(name, True),
            on_lost=lambda: self._changed(name, False),
            clock=self._clock,
        )

    def _changed(self, lease: str, leading: bool) -> None:
        self._on_change(lease, leading)
        if leading and lease in self.buckets:
            # Apart from the elector's thread, which must go on renewing.
            threading.Thread(target=self._publish, args=(lease,), name=f"publish {lease}", daemon=True).start()

    def _publish(self, bucket: str) -> None:
        """Lead the bucket's host name here. Other replicas go by the Lease first, so a failure is only told."""
        labels = {"kubernetes.io/service-name": bucket, "endpointslice.kubernetes.io/managed-by": "hasgpu-autoscaler"}
        port = {"name": "http", "port": STATS_PORT, "protocol": "TCP"}
        service: dict[str, Any] = {"spec": {"ports": [port]}}
        endpoints = [{"addresses": [self._pod_ip], "conditions": {"ready": True}}]
        family = "IPv6" if ":" in self._pod_ip else "IPv4"
        slices: dict[str, Any] = {
            "addressType": family,
            "endpoints": endpoints,
            "ports": [port],
            "metadata": {"labels": labels},
        }
        try:
            self._put(SERVICES, "v1", "Service", bucket, service)
            self._put(ENDPOINT_SLICES, "discovery.k8s.io/v1", "EndpointSlice", bucket, slices)
        except ClusterError as error:
            log.warning("bucket %s: not published: %s", bucket, error)

    def _put(self, kind: tuple[str, str], version: str, name: str, bucket: str, body: dict[str, Any]) -> None:
        metadata = {**body.get("metadata", {}), "name": bucket, "namespace": self._namespace}
        created = {"apiVersion": version, "kind": name, **body, "metadata": metadata}
        try:
            self._session.request("POST", collection(kind, self._namespace), body=created)
        except Conflict:
            merge_patch(self._session, named(kind, self._namespace, bucket), body)
