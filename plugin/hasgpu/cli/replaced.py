"""Process cli: what of Knative's own hasgpu stands in for: Deployment `autoscaler`, a key of config-deployment.

Both are kept in ConfigMap hasgpu-replaced until uninstall puts them back. Invariant: ours is never kept as Knative's.
"""

from __future__ import annotations

import json
from typing import Any

from hasgpu.cluster.errors import NotFound
from hasgpu.cluster.objects import ConfigMap
from hasgpu.cluster.patch import merge_patch, server_side_apply
from hasgpu.cluster.paths import CONFIG_MAPS, DEPLOYMENTS, named
from hasgpu.cluster.session import Session

from .command import Trouble
from .release import Document

SYSTEM = "hasgpu-system"
KNATIVE = "knative-serving"
MANAGER = "hasgpu-install"
SERVICE_ACCOUNT = "hasgpu-autoscaler"

AUTOSCALER = named(DEPLOYMENTS, KNATIVE, "autoscaler")
CONFIG_DEPLOYMENT = named(CONFIG_MAPS, KNATIVE, "config-deployment")
SCHEDULABLE = "pod-is-always-schedulable"

_KEPT = named(CONFIG_MAPS, SYSTEM, "hasgpu-replaced")
_DEPLOYMENT_KEY = "autoscaler.json"
_ABSENT = "absent"
# Written by controllers about one generation of a Deployment: not part of what is to be put back.
_PASSING = ("deployment.kubernetes.io/revision", "kubectl.kubernetes.io/last-applied-configuration")
# Of the Deployment that stands there now: without resourceVersion a PUT is unconditional.
_NOT_KEPT = ("labels", "annotations", "resourceVersion")


def is_ours(deployment: Document) -> bool:
    """Ours runs under our account."""
    return bool(deployment["spec"]["template"]["spec"].get("serviceAccountName") == SERVICE_ACCOUNT)


class Replaced:
    """Keeps, stands in, puts back."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def keep(self) -> bool:
        """Keeps Knative's Deployment and setting as they are; False where ours stands there already."""
        try:
            found: Document = self._session.get(AUTOSCALER, dict)
        except NotFound as error:
            raise Trouble(
                "Deployment knative-serving/autoscaler is not there: install Knative Serving first"
            ) from error
        if is_ours(found):
            return False
        kept = {"metadata": _lasting(found["metadata"]), "spec": found["spec"]}
        body = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": "hasgpu-replaced",
                "namespace": SYSTEM,
                "labels": {"app.kubernetes.io/name": "hasgpu"},
            },
            "data": {_DEPLOYMENT_KEY: json.dumps(kept), SCHEDULABLE: self._schedulable_before()},
        }
        server_side_apply(self._session, _KEPT, body, field_manager=MANAGER)
        return True

    def stand_in(self, ours: Document) -> None:
        """Puts our Deployment in the place of whichever is there. A whole PUT: nothing of the other's spec lingers."""
        found: Document = self._session.get(AUTOSCALER, dict)
        metadata = {**found["metadata"], "labels": ours["metadata"]["labels"]}
        annotations = metadata.get("annotations", {})
        metadata["annotations"] = {key: text for key, text in annotations.items() if key != _PASSING[1]}
        # Unconditional: the deployment controller writes the status all the time.
        metadata.pop("resourceVersion", None)
        spec = ours["spec"]
        if is_ours(found) and (stamps := found["spec"]["template"]["metadata"].get("annotations")):
            # A restart's time stamp: taking it away would start all pods anew.
            template = spec["template"]
            spec = {**spec, "template": {**template, "metadata": {**template["metadata"], "annotations": stamps}}}
        self._session.request("PUT", AUTOSCALER, body={**found, "metadata": metadata, "spec": spec})

    def make_schedulable(self) -> None:
        """A GPU pod that waits for room must not fail its Revision, nor `kn`: Knative's own setting says so."""
        body = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "config-deployment", "namespace": KNATIVE},
            "data": {SCHEDULABLE: "true"},
        }
        server_side_apply(self._session, CONFIG_DEPLOYMENT, body, field_manager=MANAGER)

    def require_kept(self) -> None:
        """Raises where ours stands there and nothing was kept that could be put back."""
        try:
            ours = is_ours(self._session.get(AUTOSCALER, dict))
        except NotFound:
            return
        if ours and self._kept() is None:
            raise Trouble(
                "Knative's own autoscaler was not kept (hasgpu was not installed by this command): apply your Knative "
                "release's serving-core.yaml once, then uninstall again"
            )

    def put_back(self) -> bool:
        """Puts Knative's Deployment and setting back; False where there was nothing to put back."""
        data = self._kept()
        if data is None:
            return False
        found: Document = self._session.get(AUTOSCALER, dict)
        if is_ours(found):
            kept = json.loads(data[_DEPLOYMENT_KEY])
            metadata = {key: text for key, text in found["metadata"].items() if key not in _NOT_KEPT}
            body = {**found, "metadata": {**metadata, **kept["metadata"]}, "spec": kept["spec"]}
            self._session.request("PUT", AUTOSCALER, body=body)
        before = data.get(SCHEDULABLE, _ABSENT)
        merge_patch(self._session, CONFIG_DEPLOYMENT, {"data": {SCHEDULABLE: None if before == _ABSENT else before}})
        return True

    def _kept(self) -> dict[str, str] | None:
        try:
            return self._session.get(_KEPT, ConfigMap).data
        except NotFound:
            return None

    def _schedulable_before(self) -> str:
        """From an earlier keep, since by now the key may be ours."""
        kept = self._kept()
        if kept is not None:
            return kept.get(SCHEDULABLE, _ABSENT)
        return self._session.get(CONFIG_DEPLOYMENT, ConfigMap).data.get(SCHEDULABLE, _ABSENT)


def _lasting(metadata: dict[str, Any]) -> dict[str, Any]:
    annotations = {key: text for key, text in metadata.get("annotations", {}).items() if key not in _PASSING}
    return {"labels": metadata.get("labels", {}), "annotations": annotations}
