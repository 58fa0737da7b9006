"""Process cli: what of Knative's own hasgpu stands in for: Deployment `autoscaler`, a key of config-deployment.

Both are kept in ConfigMap hasgpu-replaced until uninstall puts them back. Invariant: ours is never kept as Knative's,
nor is any part of it.
"""

from __future__ import annotations

import contextlib
import copy
import json
from collections.abc import Container
from typing import Any

from hasgpu.cluster.errors import NotFound
from hasgpu.cluster.objects import ConfigMap
from hasgpu.cluster.patch import merge_patch, server_side_apply
from hasgpu.cluster.paths import CONFIG_MAPS, DEPLOYMENTS, collection, named
from hasgpu.cluster.session import Session

from .command import Trouble
from .release import Document

SYSTEM = "hasgpu-system"
KNATIVE = "knative-serving"
MANAGER = "hasgpu-install"
SERVICE_ACCOUNT = "hasgpu-autoscaler"
TLS_SECRET = "hasgpu-autoscaler-tls"

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
_PART_OF = ("app.kubernetes.io/part-of", "hasgpu")
OUR_ENV = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS")


def is_ours(deployment: Document) -> bool:
    """Ours runs under our account."""
    return bool(deployment["spec"]["template"]["spec"].get("serviceAccountName") == SERVICE_ACCOUNT)


def without_ours(deployment: Document) -> Document:
    """Without what an upgrade of Knative leaves of ours: `kubectl apply` over ours takes no item out of a list.

    Told by our Secret, which nobody else mounts; without it the Deployment is returned as it is.
    """
    found = copy.deepcopy(deployment)
    pod = found["spec"]["template"]["spec"]
    ours = {each["name"] for each in pod.get("volumes", ()) if each.get("secret", {}).get("secretName") == TLS_SECRET}
    if not ours:
        return found
    _drop(pod, "volumes", ours)
    for container in pod["containers"]:
        _drop(container, "volumeMounts", ours)
        _drop(container, "env", OUR_ENV)
    for metadata in (found["metadata"], found["spec"]["template"]["metadata"]):
        labels = metadata.get("labels", {})
        metadata["labels"] = {key: text for key, text in labels.items() if (key, text) != _PART_OF}
    found["spec"].get("strategy", {}).get("rollingUpdate", {}).pop("maxSurge", None)
    return found


def _drop(holder: dict[str, Any], key: str, names: Container[str]) -> None:
    left = [each for each in holder.pop(key, ()) if each["name"] not in names]
    if left:
        holder[key] = left


class Replaced:
    """Keeps, stands in, puts back."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def keep(self) -> bool:
        """Keeps Knative's Deployment and setting as they are; False where ours stands there already."""
        try:
            found = without_ours(self._session.get(AUTOSCALER, dict))
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
        kept = None if data is None else without_ours(json.loads(data[_DEPLOYMENT_KEY]))
        there = self._put_deployment_back(kept)
        if data is not None:
            before = data.get(SCHEDULABLE, _ABSENT)
            schedulable = None if before == _ABSENT else before
            with contextlib.suppress(NotFound):
                merge_patch(self._session, CONFIG_DEPLOYMENT, {"data": {SCHEDULABLE: schedulable}})
        return there

    def _put_deployment_back(self, kept: Document | None) -> bool:
        """Whether Knative's stands there now."""
        try:
            found: Document = self._session.get(AUTOSCALER, dict)
        except NotFound:
            return kept is not None and self._make_anew(kept)
        if not is_ours(found):
            body = without_ours(found)
        elif kept is not None:
            metadata = {key: text for key, text in found["metadata"].items() if key not in _NOT_KEPT}
            body = {**found, "metadata": {**metadata, **kept["metadata"]}, "spec": kept["spec"]}
        else:
            return False
        if body != found:
            # Unconditional: the deployment controller writes the status all the time.
            body["metadata"].pop("resourceVersion", None)
            self._session.request("PUT", AUTOSCALER, body=body)
        return True

    def _make_anew(self, kept: Document) -> bool:
        """Somebody deleted it: with it alone, or with all of Knative."""
        metadata = {"name": "autoscaler", "namespace": KNATIVE, **kept["metadata"]}
        body = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": kept["spec"]}
        try:
            self._session.request("POST", collection(DEPLOYMENTS, KNATIVE), body=body)
        except NotFound:
            return False
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
