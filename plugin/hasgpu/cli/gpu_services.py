"""Process cli: the services of a cluster that use hasgpu. Lists, and on demand deletes."""

from __future__ import annotations

import msgspec

from hasgpu.cluster.errors import NotFound
from hasgpu.cluster.knative import KnativeService, PodAutoscaler
from hasgpu.cluster.objects import Pod
from hasgpu.cluster.paths import KNATIVE_SERVICES, POD_AUTOSCALERS, PODS, collection, named
from hasgpu.cluster.session import Session
from hasgpu.model.annotations import CLASS, HAS_CLASS, REVISION_LABEL, SERVICE_LABEL, SLICE_GPU, USER_PREFIX

from .command import wait_for


class _Services(msgspec.Struct):
    items: tuple[KnativeService, ...] = ()


class _PodAutoscalers(msgspec.Struct):
    items: tuple[PodAutoscaler, ...] = ()


class _Pods(msgspec.Struct):
    items: tuple[Pod, ...] = ()


class GpuServices:
    """Asks one cluster."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def names(self) -> list[tuple[str, str]]:
        """Namespace and name of services whose template has our keys or of which a revision is scaled by our class.

        Or whose pods hold a slice and stay.
        """
        try:
            listed = self._session.get(collection(KNATIVE_SERVICES), _Services, timeout_s=30.0)
        except NotFound:
            return []
        found = {
            (each.metadata.namespace, each.metadata.name)
            for each in listed.items
            if any(key.startswith(USER_PREFIX) for key in each.spec.template.metadata.annotations)
        }
        # Not those of services that are gone: their revisions follow them by and by.
        there = {(each.metadata.namespace, each.metadata.name) for each in listed.items}
        found |= there & {(pa.metadata.namespace, pa.metadata.labels.get(SERVICE_LABEL, "")) for pa in self._ours()}
        found |= {(pod.metadata.namespace, _service(pod)) for pod in self.pods() if _service(pod) and stays(pod)}
        return sorted(found)

    def bare_revisions(self) -> list[tuple[str, str]]:
        """Namespace and name of revisions that our class scales and that are of no service."""
        return sorted(
            (pa.metadata.namespace, pa.metadata.name)
            for pa in self._ours()
            if SERVICE_LABEL not in pa.metadata.labels and pa.metadata.deletion_timestamp is None
        )

    def pods(self) -> list[Pod]:
        """Pods of revisions, or plain ones, that hold a slice or wait for one."""
        listed = self._session.get(collection(PODS), _Pods, timeout_s=30.0)
        return [
            pod
            for pod in listed.items
            if not pod.finished
            and (
                SLICE_GPU in pod.metadata.annotations
                or (
                    REVISION_LABEL in pod.metadata.labels
                    and any(key.startswith(USER_PREFIX) for key in pod.metadata.annotations)
                )
            )
        ]

    def _ours(self) -> list[PodAutoscaler]:
        try:
            listed = self._session.get(collection(POD_AUTOSCALERS), _PodAutoscalers, timeout_s=30.0)
        except NotFound:
            return []
        return [pa for pa in listed.items if pa.metadata.annotations.get(CLASS) == HAS_CLASS]

    def delete(self, namespace: str, name: str) -> None:
        """Deletes a service; one that is gone is fine."""
        try:
            self._session.request("DELETE", named(KNATIVE_SERVICES, namespace, name))
        except NotFound:
            return

    def wait_gone(self, timeout_s: float) -> None:
        """Until no pod holds a slice: the node agent must still be there to take its volumes down."""

        def left() -> str | None:
            pods = self.pods()
            return None if not pods else f"pod {pods[0].metadata.namespace}/{pods[0].metadata.name} is still there"

        wait_for(left, timeout_s, period_s=1.0)


def stays(pod: Pod) -> bool:
    """Nobody has deleted it yet."""
    return pod.metadata.deletion_timestamp is None


def _service(pod: Pod) -> str:
    return pod.metadata.labels.get(SERVICE_LABEL, "")
