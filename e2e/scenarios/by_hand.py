"""Plain GPU pods, equipped as the webhook equips them and placed as the allocator places them, but by hand.

So a test of the data plane needs neither of the two.
"""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hasgpu.model.annotations import SLICE_GENERATION, SLICE_TIME_QUOTA
from hasgpu.model.gpu import GpuSlice
from hasgpu.model.ledger import slice_annotations
from hasgpu.model.units import SmPartition, TimeQuota
from hasgpu_webhook import injection

from e2e.commands import apply, environment, kubectl, kubectl_json

ALLOCATOR = "system:serviceaccount:knative-serving:hasgpu-autoscaler"
# Not the product's gate: its allocator must leave these pods alone.
_GATE = "e2e.hasgpu.dev/by-hand"
_SHIM = "/opt/hasgpu/lib/libcuda.so.1"

# One inference after the other without host time: a client that takes all it gets.
BUSY = """
from inference.driver import Driver
from inference.network import Network
from inference.table import read_table
network = Network(Driver(), read_table("resnet50"), 0.0)
while True:
    network.infer(1)
"""


def gpus() -> list[dict[str, Any]]:
    """GPU objects that can take a pod, by name."""
    items: list[dict[str, Any]] = kubectl_json("get", "gpus")["items"]
    return sorted(items, key=lambda item: str(item["metadata"]["name"]))


def allow_allocator(namespace: str) -> None:
    """Rights in this namespace for the allocator's account, which may not be installed yet."""
    rule = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "patch"]}
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": "by-hand", "namespace": namespace}}
    service_account, name = ALLOCATOR.split(":")[2:]
    apply({**role, "kind": "Role", "rules": [rule]})
    apply(
        {
            **role,
            "kind": "RoleBinding",
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "by-hand"},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": service_account}],
        }
    )


def create(namespace: str, name: str, *, script: str = BUSY, shim: bool = True, gated: bool = True) -> None:
    """A pod that runs ``script`` on the slice it will get."""
    preload = [{"name": "LD_PRELOAD", "value": _SHIM}] if shim else []
    apply(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {
                "runtimeClassName": "nvidia",
                "terminationGracePeriodSeconds": 1,
                "schedulingGates": [{"name": _GATE}] if gated else [],
                "containers": [
                    {
                        "name": "user-container",
                        "image": "hasgpu.local/inference:1",
                        "imagePullPolicy": "IfNotPresent",
                        "command": ["python3", "-c", script],
                        "env": [*injection.gpu_environment(), *preload],
                        "volumeMounts": injection.mounts(),
                    }
                ],
                "volumes": injection.volumes(),
            },
        }
    )


def place(namespace: str, name: str, gpu: dict[str, Any], *, sm: int, quota: int, row: int = 0) -> str:
    """Gives a gated pod its slice in the one patch that an allocator writes; returns its UID."""
    wanted = GpuSlice(
        gpu_uuid=gpu["spec"]["uuid"],
        row=row,
        sm_partition=SmPartition(sm),
        time_quota=TimeQuota(quota),
        memory_bytes=2 << 30,
        generation=1,
    )
    pod = kubectl_json("get", "pod", name, "--namespace", namespace)
    patch = [
        {"op": "test", "path": "/spec/schedulingGates/0/name", "value": _GATE},
        {"op": "remove", "path": "/spec/schedulingGates/0"},
        {"op": "add", "path": "/spec/nodeSelector", "value": {"kubernetes.io/hostname": gpu["spec"]["node"]}},
        {"op": "add", "path": "/metadata/annotations", "value": _merged(pod, slice_annotations(wanted))},
    ]
    words = ("patch", "pod", name, "--namespace", namespace, "--type=json", "-p", json.dumps(patch))
    kubectl(*words, f"--as={ALLOCATOR}")
    return str(pod["metadata"]["uid"])


class Allocator:
    """Writes quotas over one open connection, as the allocator does: kubectl alone takes 0.1 s to start."""

    def __init__(self, connection: http.client.HTTPConnection, namespace: str) -> None:
        self._connection, self._namespace = connection, namespace
        self._generations: dict[str, int] = {}

    def patch(self, name: str, quota: int) -> int:
        """Patches the quota; returns when the request was sent, in CLOCK_MONOTONIC nanoseconds."""
        generation = self._generations[name] = self._generations.get(name, 1) + 1
        annotations = {SLICE_TIME_QUOTA: str(quota), SLICE_GENERATION: str(generation)}
        sent_ns = time.monotonic_ns()
        self._connection.request(
            "PATCH",
            f"/api/v1/namespaces/{self._namespace}/pods/{name}",
            body=json.dumps({"metadata": {"annotations": annotations}}),
            headers={"Content-Type": "application/merge-patch+json"},
        )
        answer = self._connection.getresponse()
        body = answer.read()
        assert answer.status == 200, body
        return sent_ns


@contextmanager
def allocator(namespace: str) -> Iterator[Allocator]:
    """An Allocator that speaks through ``kubectl proxy``, which knows how to log in."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "api"
        proxy = subprocess.Popen(
            ["kubectl", "proxy", f"--unix-socket={path}", f"--as={ALLOCATOR}"],
            env=environment(),
            stdout=subprocess.DEVNULL,
        )
        try:
            yield Allocator(_connected(path), namespace)
        finally:
            proxy.terminate()
            proxy.wait(5)


def _connected(path: Path, within_s: float = 10.0) -> http.client.HTTPConnection:
    deadline_s = time.monotonic() + within_s
    while True:
        plug = socket.socket(socket.AF_UNIX)
        try:
            plug.connect(str(path))
            break
        except OSError:
            plug.close()
            if time.monotonic() > deadline_s:
                raise
            time.sleep(0.05)
    connection = http.client.HTTPConnection("localhost", timeout=10)
    connection.sock = plug
    return connection


def _merged(pod: dict[str, Any], annotations: dict[str, str]) -> dict[str, str]:
    found: dict[str, str] = pod["metadata"].get("annotations", {})
    return found | annotations
