"""Process autoscaler: the only writes of GPU allocation. Decides nothing; every write is fenced and guarded.

Fence: nothing is written unless this replica still leads. Guards: the pod is the one that was looked at (UID) and its
slice is the one that was decided on (gate, generation); else the API server refuses and the next pass looks again.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence

from hasgpu.cluster.errors import ClusterError, Conflict, NotFound, Refused, Unreachable
from hasgpu.cluster.objects import Node, Pod
from hasgpu.cluster.patch import Op, add, json_patch, remove, replace, test
from hasgpu.cluster.patch import pointer as path_to
from hasgpu.cluster.paths import PODS, named
from hasgpu.cluster.session import Session, decode
from hasgpu.model import annotations as keys
from hasgpu.model.decision import QuotaChange
from hasgpu.model.gpu import GpuSlice
from hasgpu.model.keys import PodKey
from hasgpu.model.ledger import slice_annotations

from .own_writes import OwnWrites

log = logging.getLogger(__name__)

HOSTNAME_LABEL = "kubernetes.io/hostname"
WRITES_PER_S = 100
SHRINKS_PER_S = 80
"""Of these; so a raise need not wait for shrinks that came first."""
WRITE_TIMEOUT_S = 4.0
"""Below the fence's margin (lease less renew deadline, 5 s): a write begun as leader ends before another leads."""
_UNNEEDED_COST = "-100"


class SliceWriter:
    """Used by the one thread that allocates."""

    def __init__(self, session: Session, writes: OwnWrites, still_leading: Callable[[float], bool]) -> None:
        self._session, self._writes, self._still_leading = session, writes, still_leading
        self._recent: deque[float] = deque()

    def place(self, pod: Pod, entry: GpuSlice, node: Node, traceparent: str, now: float, *, twin_of: str = "") -> bool:
        """Gives a gated pod its slice and node and takes the gate away, all in one patch."""
        twin = {keys.SLICE_TWIN_OF: twin_of} if twin_of else {}
        gate = next(i for i, each in enumerate(pod.spec.scheduling_gates) if each.name == keys.SCHEDULING_GATE)
        gate_path = path_to("spec", "schedulingGates", gate)
        hostname = node.metadata.labels.get(HOSTNAME_LABEL, node.metadata.name)
        ops = [
            test(f"{gate_path}/name", keys.SCHEDULING_GATE),
            *_annotated(pod, {**slice_annotations(entry), keys.SLICE_TRACEPARENT: traceparent, **twin}),
            add(path_to("spec", "nodeSelector", HOSTNAME_LABEL), hostname)
            if pod.spec.node_selector
            else add("/spec/nodeSelector", {HOSTNAME_LABEL: hostname}),
            remove(gate_path),
        ]
        return self._patch(_key(pod), ops, now, entry)

    def write_quota(self, change: QuotaChange, traceparent: str, now: float) -> bool:
        """A new quota of a placed pod."""
        if not self._may_write(now, WRITES_PER_S if change.grows else SHRINKS_PER_S):
            return False
        note = path_to("metadata", "annotations", keys.SLICE_GENERATION)
        ops = [
            test(note, str(change.old.generation)),
            replace(path_to("metadata", "annotations", keys.SLICE_TIME_QUOTA), str(change.new.time_quota.percent)),
            replace(note, str(change.new.generation)),
            add(path_to("metadata", "annotations", keys.SLICE_TRACEPARENT), traceparent),
        ]
        return self._patch(change.pod, ops, now, change.new)

    def mark_unneeded(self, pod: Pod, unneeded: bool, now: float) -> bool:
        """Tells Kubernetes' ReplicaSet controller which pod leaves first; takes it back where it stays."""
        cost = path_to("metadata", "annotations", keys.POD_DELETION_COST)
        return self._patch(_key(pod), [add(cost, _UNNEEDED_COST) if unneeded else remove(cost)], now)

    def mark_moving(self, pod: Pod, frees: str, now: float) -> bool:
        """Tells who leads next that a pod is to be moved, and for which GPU; empty: no longer."""
        note = path_to("metadata", "annotations", keys.SLICE_MOVES_FOR)
        return self._patch(_key(pod), [add(note, frees) if frees else remove(note)], now)

    def evict(self, pod: PodKey, now: float) -> bool:
        """Deletes a pod, and only that one."""
        if not self._still_leading(now):
            return False
        body = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": pod.uid}}
        try:
            self._session.request("DELETE", named(PODS, pod.namespace, pod.name), body=body, timeout_s=WRITE_TIMEOUT_S)
        except ClusterError as error:
            log.info("%s: not deleted: %s", pod, error)
            return False
        return True

    def _patch(self, pod: PodKey, ops: Sequence[Op], now: float, attempted: GpuSlice | None = None) -> bool:
        if not self._still_leading(now):
            return False
        guarded = [test("/metadata/uid", pod.uid), *ops]
        try:
            path = named(PODS, pod.namespace, pod.name)
            answer = json_patch(self._session, path, guarded, timeout_s=WRITE_TIMEOUT_S)
        except (Refused, Conflict, NotFound) as error:
            log.info("%s: changed since it was looked at: %s", pod, error)
            return False
        except ClusterError as error:
            if attempted is not None and isinstance(error, Unreachable):
                self._writes.unanswered(pod.uid, attempted, now)
            # One pod that the server will not change must not keep all others waiting.
            log.warning("%s: not written: %s", pod, error)
            return False
        self._writes.wrote(decode(answer, Pod), now)
        return True

    def _may_write(self, now: float, most: int) -> bool:
        """At most so many quota writes a second: what does not fit is decided again a moment later."""
        while self._recent and not 0.0 <= now - self._recent[0] < 1.0:
            self._recent.popleft()
        if len(self._recent) >= most:
            return False
        self._recent.append(now)
        return True


def marked_unneeded(pod: Pod) -> bool:
    """True where our own watch shows the mark."""
    return pod.metadata.annotations.get(keys.POD_DELETION_COST) == _UNNEEDED_COST


def _annotated(pod: Pod, values: dict[str, str]) -> list[Op]:
    if not pod.metadata.annotations:
        return [add("/metadata/annotations", values)]
    return [add(path_to("metadata", "annotations", key), value) for key, value in values.items()]


def _key(pod: Pod) -> PodKey:
    return PodKey(pod.metadata.namespace, pod.metadata.name, pod.metadata.uid)
