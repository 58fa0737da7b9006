"""Process cli: what the live autoscaler has logged. Costs the cluster's client; verbs import it when they need it."""

from __future__ import annotations

import msgspec

from hasgpu.cluster.errors import ClusterError
from hasgpu.cluster.objects import Pod
from hasgpu.cluster.paths import PODS, collection, named

from .command import connected
from .replaced import KNATIVE

_LINES = "20000"


class _Pods(msgspec.Struct):
    items: tuple[Pod, ...] = ()


def lines(context: str | None) -> list[str]:
    """The lines of all replicas, oldest first: who leads now may have led only for a while."""
    session = connected(context)
    found = session.get(collection(PODS, KNATIVE), _Pods, query={"labelSelector": "app=autoscaler"})
    logged: list[str] = []
    for pod in found.items:
        path = named(PODS, pod.metadata.namespace, pod.metadata.name, "log")
        try:
            logged += session.request("GET", path, query={"tailLines": _LINES}).decode(errors="replace").splitlines()
        except ClusterError:
            continue  # a replica that is just starting has no log yet
    return sorted(logged)
