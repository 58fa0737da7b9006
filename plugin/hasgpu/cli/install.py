"""Process cli: install. Every step may be repeated; one that fails leaves Knative's autoscaler serving.

Refuses, before anything is written, where a mesh would hide pods. Order: kinds before objects; the webhook before the
autoscaler, whose certificate it makes; the autoscaler last.
"""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from hasgpu.cluster.errors import NotFound
from hasgpu.cluster.metadata import Metadata
from hasgpu.cluster.objects import ConfigMap, Lease
from hasgpu.cluster.patch import merge_patch, server_side_apply
from hasgpu.cluster.paths import CONFIG_MAPS, LEASES, NODES, collection, named
from hasgpu.cluster.session import Session
from hasgpu.model.annotations import ALLOCATOR_LEASE, NODE_ENABLED_LABEL
from hasgpu.settings.errors import SettingsError
from hasgpu.settings.knative import MESH_HIDES_PODS, NETWORK, parse_network

from .command import Progress, Trouble, wait_for
from .release import Document, Release, object_path, title
from .replaced import KNATIVE, MANAGER, SYSTEM, Replaced
from .rollout import Rollout


class _Named(msgspec.Struct):
    metadata: Metadata


class _Listing(msgspec.Struct):
    items: tuple[_Named, ...] = ()


class Install:
    """One run."""

    def __init__(
        self,
        session: Session,
        progress: Progress,
        release: Release,
        timeout_s: float,
        *,
        restart: bool = False,
        force: bool = False,
    ) -> None:
        self._session, self._progress, self._release, self._timeout_s = session, progress, release, timeout_s
        self._restart, self._force = restart, force
        self._replaced = Replaced(session)
        self._rollout = Rollout(session, timeout_s)

    def run(self) -> None:
        """Installs, or brings up to date."""
        self._check_mesh()
        (autoscaler,) = self._release.of("Deployment", "autoscaler")
        for document in self._release.documents:
            if document is not autoscaler:
                server_side_apply(self._session, object_path(document), document, field_manager=MANAGER)
                self._start_anew(document)
                self._progress.done(title(document))
            if document["kind"] == "CustomResourceDefinition":
                self._rollout.kind(object_path(document))
        if self._replaced.keep():
            self._progress.done("Knative's autoscaler is kept in ConfigMap hasgpu-system/hasgpu-replaced")
        self._replaced.make_schedulable()
        self._progress.done("config-deployment: pod-is-always-schedulable is true")
        self._wait_webhook()
        self._wait_nodes()
        with self._progress.step("autoscaler takes the place of Knative's"):
            self._replaced.stand_in(autoscaler)
            self._start_anew(autoscaler)
            self._rollout.deployment(KNATIVE, "autoscaler")
            wait_for(self._nobody_allocates, self._timeout_s)
        self._progress.done("installed")

    def _check_mesh(self) -> None:
        """Nobody should find out from services that do not scale any more."""
        try:
            network = parse_network(self._session.get(named(CONFIG_MAPS, KNATIVE, NETWORK), ConfigMap).data)
        except NotFound:
            return
        except SettingsError as error:
            raise Trouble(str(error)) from error
        if network.hides_pods and not self._force:
            raise Trouble(f"{MESH_HIDES_PODS}; --force (make: FORCE=1) installs nonetheless")
        if network.hides_pods:
            self._progress.note(MESH_HIDES_PODS)

    def _start_anew(self, document: Document) -> None:
        """As `kubectl rollout restart` does it; a DaemonSet that is updated on delete waits for its node's drain."""
        if not self._restart or document["kind"] not in ("Deployment", "DaemonSet"):
            return
        at = datetime.now(UTC).isoformat(timespec="seconds")
        template = {"metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": at}}}
        merge_patch(self._session, object_path(document), {"spec": {"template": template}})

    def _wait_webhook(self) -> None:
        with self._progress.step("webhook becomes ready"):
            self._rollout.deployment(SYSTEM, "hasgpu-webhook")
            for document in self._release.of("MutatingWebhookConfiguration"):
                self._rollout.trusted(object_path(document))

    def _wait_nodes(self) -> None:
        query = {"labelSelector": f"{NODE_ENABLED_LABEL}=true"}
        nodes = self._session.get(collection(NODES), _Listing, query=query)
        if not nodes.items:
            self._progress.note(f"no node is a GPU node yet: kubectl label node NAME {NODE_ENABLED_LABEL}=true")
            return
        with self._progress.step(f"node agent and MPS become ready on {len(nodes.items)} node(s)"):
            for document in self._release.of("DaemonSet"):
                self._rollout.daemon_set(SYSTEM, document["metadata"]["name"])

    def _nobody_allocates(self) -> str | None:
        try:
            holder = self._session.get(named(LEASES, KNATIVE, ALLOCATOR_LEASE), Lease).spec.holder_identity
        except NotFound:
            holder = ""
        return None if holder else f"nobody holds Lease {ALLOCATOR_LEASE}"
