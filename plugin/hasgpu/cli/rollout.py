"""Process cli: waiting until what was applied runs, and saying why it does not. Reads only."""

from __future__ import annotations

from typing import Any

import msgspec

from hasgpu.cluster.errors import NotFound
from hasgpu.cluster.metadata import is_true
from hasgpu.cluster.objects import Deployment, Pod
from hasgpu.cluster.paths import DAEMON_SETS, DEPLOYMENTS, PODS, collection, named
from hasgpu.cluster.session import Session

from .command import wait_for


class _Pods(msgspec.Struct):
    items: tuple[Pod, ...] = ()


class Rollout:
    """Asks one cluster."""

    def __init__(self, session: Session, timeout_s: float) -> None:
        self._session, self._timeout_s = session, timeout_s

    def deployment(self, namespace: str, name: str) -> None:
        """Until every replica is of the last generation and available."""
        wait_for(lambda: self._deployment(namespace, name), self._timeout_s)

    def daemon_set(self, namespace: str, name: str) -> int:
        """Until every node that should has it ready; how many nodes that are."""
        wait_for(lambda: self._daemon_set(namespace, name), self._timeout_s)
        found: dict[str, Any] = self._session.get(named(DAEMON_SETS, namespace, name), dict)
        return int(found["status"]["desiredNumberScheduled"])

    def kind(self, path: str) -> None:
        """Until a CustomResourceDefinition is established."""

        def missing() -> str | None:
            # A kind made a moment ago has null for conditions.
            conditions = (self._session.get(path, dict).get("status") or {}).get("conditions") or ()
            held = any(each["type"] == "Established" and each["status"] == "True" for each in conditions)
            return None if held else "the kind is not established"

        wait_for(missing, self._timeout_s)

    def trusted(self, path: str) -> None:
        """Until the webhook has put its CA into its own configuration."""

        def missing() -> str | None:
            hooks = self._session.get(path, dict).get("webhooks", [])
            held = bool(hooks) and all(each["clientConfig"].get("caBundle") for each in hooks)
            return None if held else "the webhook has not written its caBundle"

        wait_for(missing, self._timeout_s)

    def gone(self, path: str) -> None:
        """Until the object is not there."""

        def left() -> str | None:
            try:
                self._session.request("GET", path)
            except NotFound:
                return None
            return f"{path} is still there"

        wait_for(left, self._timeout_s)

    def _deployment(self, namespace: str, name: str) -> str | None:
        found = self._session.get(named(DEPLOYMENTS, namespace, name), Deployment)
        wanted, status = found.spec.replicas, found.status
        if status.observed_generation < found.metadata.generation:
            return f"Deployment {name} has not been looked at"
        if (status.replicas, status.updated_replicas, status.available_replicas) == (wanted, wanted, wanted):
            return None
        selector = ",".join(f"{key}={value}" for key, value in found.spec.selector.match_labels.items())
        ready = f"{status.available_replicas} of {wanted} replicas of Deployment {name} are available"
        return ready + self._why(namespace, selector)

    def _daemon_set(self, namespace: str, name: str) -> str | None:
        found: dict[str, Any] = self._session.get(named(DAEMON_SETS, namespace, name), dict)
        status = found.get("status", {})
        if status.get("observedGeneration", 0) < found["metadata"]["generation"]:
            return f"DaemonSet {name} has not been looked at"
        wanted, ready = status.get("desiredNumberScheduled", 0), status.get("numberReady", 0)
        updated = status.get("updatedNumberScheduled", 0)
        on_delete = found["spec"].get("updateStrategy", {}).get("type") == "OnDelete"
        if ready >= wanted and (on_delete or updated >= wanted):
            return None
        labels = found["spec"]["selector"]["matchLabels"]
        why = self._why(namespace, ",".join(f"{key}={value}" for key, value in labels.items()))
        return f"{ready} of {wanted} pods of DaemonSet {name} are ready{why}"

    def _why(self, namespace: str, selector: str) -> str:
        """The first reason that a pod gives."""
        found = self._session.get(collection(PODS, namespace), _Pods, query={"labelSelector": selector})
        for pod in found.items:
            for status in (*pod.status.init_container_statuses, *pod.status.container_statuses):
                if status.state.waiting is not None and status.state.waiting.reason:
                    waiting = status.state.waiting
                    return f"; pod {pod.metadata.name}: {waiting.reason} {waiting.message}".rstrip()
            if pod.status.phase == "Pending" and not is_true(pod.status.conditions, "PodScheduled"):
                messages = [each.message for each in pod.status.conditions if each.type == "PodScheduled"]
                return f"; pod {pod.metadata.name}: {' '.join(messages) or 'is not scheduled'}"
        return ""
