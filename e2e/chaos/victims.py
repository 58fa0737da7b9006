"""Finds the processes of a component on this machine and kills them with SIGKILL. Needs root on the node."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from e2e.commands import kubectl, kubectl_json


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """Where a component's containers are."""

    name: str
    namespace: str
    selector: str
    container: str
    replicas_at_once: int = 1
    churn: bool = False
    """The service's own pods are replaced meanwhile, one after the other: without newcomers nobody needs a webhook."""
    replaced: bool = True
    """Its pod is deleted with it: else twenty kills would measure the kubelet's crash-loop back-off of minutes."""
    pods: int = 2
    """Of the service. A container that is not replaced is restarted after 0, 10, 20, 40 s: one pod is not enough."""


COMPONENT = "app.kubernetes.io/component"
COMPONENTS = {
    component.name: component
    for component in (
        Component(name="autoscaler", namespace="knative-serving", selector="app=autoscaler", container="autoscaler"),
        Component(
            name="agent", namespace="hasgpu-system", selector="app.kubernetes.io/component=node", container="agent"
        ),
        Component(
            name="webhook",
            namespace="hasgpu-system",
            selector=f"{COMPONENT}=webhook",
            container="webhook",
            churn=True,
        ),
        Component(
            name="both-webhooks",
            namespace="hasgpu-system",
            selector=f"{COMPONENT}=webhook",
            container="webhook",
            replicas_at_once=2,
            churn=True,
        ),
        Component(
            name="sidecar",
            namespace="hasgpu-chaos",
            selector="serving.knative.dev/service=steady",
            container="hasgpu-mps",
            replaced=False,
            pods=9,
        ),
    )
}


def running(component: Component) -> list[tuple[str, str]]:
    """(pod name, container id) of each running container of the component."""
    found = []
    answer = kubectl_json("get", "pods", "--namespace", component.namespace, "-l", component.selector)
    for pod in answer["items"]:
        for status in _statuses(pod):
            if status["name"] == component.container and "running" in status.get("state", {}):
                found.append((pod["metadata"]["name"], status["containerID"].rsplit("/", 1)[1]))
    return found


def _statuses(pod: dict[str, Any]) -> list[dict[str, Any]]:
    status = pod["status"]
    return [*status.get("containerStatuses", []), *status.get("initContainerStatuses", [])]


def strike(component: Component, containers: Sequence[tuple[str, str]]) -> int:
    """Kills the containers, and where the component is replaced, their pods; returns how many processes were hit."""
    hit = kill(containers)
    if component.replaced and containers:
        names = [pod for pod, _ in containers]
        now = ("--grace-period=0", "--force", "--wait=false")
        kubectl("--namespace", component.namespace, "delete", "pod", *names, *now)
    return hit


def kill(containers: Sequence[tuple[str, str]]) -> int:
    """SIGKILLs every process of the containers; returns how many were hit."""
    ids, hit = [identity for _, identity in containers], 0
    for process in Path("/proc").glob("[0-9]*"):
        try:
            groups = (process / "cgroup").read_text()
            if any(identity in groups for identity in ids):
                os.kill(int(process.name), signal.SIGKILL)
                hit += 1
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
    return hit
