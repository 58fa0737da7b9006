"""Process cli: uninstall. Refuses while GPU services exist; every step may be repeated after one that failed.

Order, so that every other service stays served: the webhook's configuration first (no new pod is injected or gated),
then Knative's own autoscaler takes over, and only then do agents, webhook and kinds go.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from hasgpu.cluster.custom import LatencyProfile, ProfileSpec
from hasgpu.cluster.errors import NotFound
from hasgpu.cluster.metadata import Metadata
from hasgpu.cluster.patch import merge_patch
from hasgpu.cluster.paths import GPUS, LATENCY_PROFILES, LEASES, SECRETS, collection, named
from hasgpu.cluster.session import Session
from hasgpu.model.annotations import ALLOCATOR_LEASE, LEARNED_LABEL

from .command import Progress, Trouble
from .gpu_services import GpuServices, stays
from .release import Document, Release, object_path, title
from .replaced import KNATIVE, SYSTEM, TLS_SECRET, Replaced
from .rollout import Rollout

_PROFILES_KIND = "latencyprofiles.hasgpu.dev"
# Made by processes of ours, so not in the manifests.
_LEFT_BEHIND = (named(SECRETS, KNATIVE, TLS_SECRET), named(LEASES, KNATIVE, ALLOCATOR_LEASE))


class _Named(msgspec.Struct):
    metadata: Metadata


class _Gpus(msgspec.Struct):
    items: tuple[_Named, ...] = ()


class _Profiles(msgspec.Struct):
    items: tuple[LatencyProfile, ...] = ()


class Uninstall:
    """One run."""

    def __init__(
        self, session: Session, progress: Progress, release: Release, timeout_s: float, *, force: bool
    ) -> None:
        self._session, self._progress, self._release = session, progress, release
        self._timeout_s, self._force = timeout_s, force
        self._replaced, self._services = Replaced(session), GpuServices(session)
        self._rollout = Rollout(session, timeout_s)

    @classmethod
    def prepare(
        cls, session: Session, progress: Progress, folder: Path | None, timeout_s: float, *, force: bool
    ) -> Uninstall:
        """Loads the release."""
        return cls(session, progress, Release.load(folder), timeout_s, force=force)

    def run(self) -> None:
        """Removes all of it."""
        self._replaced.require_kept()
        self._end_services()
        for document in self._release.of("MutatingWebhookConfiguration"):
            self._delete(document)
        if self._replaced.put_back():
            with self._progress.step("Knative's own autoscaler takes over"):
                self._rollout.deployment(KNATIVE, "autoscaler")
        self._end_agents()
        keep_profiles = self._keep_written_profiles()
        for document in reversed(self._release.documents):
            name = document["metadata"]["name"]
            if (document["kind"], name) == ("Deployment", "autoscaler") or document["kind"] == "Namespace":
                continue
            if keep_profiles and name == _PROFILES_KIND:
                self._progress.note(f"{keep_profiles} LatencyProfile(s) and their kind are kept; --force deletes them")
                continue
            self._delete(document)
        for path in _LEFT_BEHIND:
            self._delete_path(path)
        with self._progress.step(f"Namespace {SYSTEM} goes"):
            for document in self._release.of("Namespace"):
                self._delete_path(object_path(document))
                self._rollout.gone(object_path(document))
        self._progress.done("uninstalled")

    def _end_services(self) -> None:
        for namespace, name in self._services.bare_revisions():
            # Nobody would reconcile it any more: its requests would wait for ever.
            raise Trouble(f"revision {namespace}/{name} uses GPUs and is of no service; delete its Configuration")
        services = self._services.names()
        if services and not self._force:
            listed = "\n".join(f"  {namespace}/{name}" for namespace, name in services)
            raise Trouble(f"these services use GPUs; delete them, or say --force (make: FORCE=1):\n{listed}")
        for namespace, name in services:
            self._services.delete(namespace, name)
            self._progress.done(f"service {namespace}/{name} is deleted")
        pods = self._services.pods()
        for pod in pods:
            if stays(pod) and not self._force:
                raise Trouble(f"pod {pod.metadata.namespace}/{pod.metadata.name} still holds a slice of a GPU")
        if pods:
            with self._progress.step("GPU pods end"):
                self._services.wait_gone(self._timeout_s)

    def _end_agents(self) -> None:
        """Agents before their GPU objects, which a living agent would write again."""
        for document in self._release.of("DaemonSet"):
            self._delete(document)
            self._rollout.gone(object_path(document))
        try:
            listed = self._session.get(collection(GPUS), _Gpus)
        except NotFound:
            return
        for gpu in listed.items:
            path = named(GPUS, "", gpu.metadata.name)
            if gpu.metadata.finalizers:
                merge_patch(self._session, path, {"metadata": {"finalizers": None}})
            self._delete_path(path)

    def _keep_written_profiles(self) -> int:
        """How many LatencyProfiles people wrote. Beside them learned ones go one by one, else with their kind."""
        if self._force:
            return 0
        try:
            listed = self._session.get(collection(LATENCY_PROFILES), _Profiles)
        except NotFound:
            return 0
        learned = [each for each in listed.items if _only_learned(each)]
        written = len(listed.items) - len(learned)
        for each in learned if written else ():
            self._delete_path(named(LATENCY_PROFILES, each.metadata.namespace, each.metadata.name))
        return written

    def _delete(self, document: Document) -> None:
        if self._delete_path(object_path(document)):
            self._progress.done(f"{title(document)} is deleted")

    def _delete_path(self, path: str) -> bool:
        try:
            self._session.request("DELETE", path, query={"propagationPolicy": "Foreground"})
        except NotFound:
            return False
        return True


def _only_learned(profile: LatencyProfile) -> bool:
    """As the autoscaler made it: the label stays when a person fills such a profile's spec."""
    return LEARNED_LABEL in profile.metadata.labels and profile.spec == ProfileSpec()
