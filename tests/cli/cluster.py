"""A cluster that finishes what is asked of it: the fake API server, and a thread in the place of the controllers."""

from __future__ import annotations

import threading
from typing import Any

from tests.cluster.fake_api import FakeApi

APPS = "/apis/apps/v1"
KNATIVE_AUTOSCALER = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {
        "name": "autoscaler",
        "labels": {"app.kubernetes.io/name": "knative-serving"},
        "annotations": {"deployment.kubernetes.io/revision": "3", "kept": "yes"},
    },
    "spec": {
        "replicas": 1,
        "selector": {"matchLabels": {"app": "autoscaler"}},
        "template": {
            "metadata": {"labels": {"app": "autoscaler"}},
            "spec": {
                "serviceAccountName": "controller",
                "containers": [{"name": "autoscaler", "image": "kn", "env": [{"name": "ONLY_KNATIVES", "value": "1"}]}],
            },
        },
    },
}
AUTOSCALER_PATH = f"{APPS}/namespaces/knative-serving/deployments/autoscaler"
CONFIG_PATH = "/api/v1/namespaces/knative-serving/configmaps/config-deployment"


class Cluster:
    """Knative stands; whatever is applied becomes ready, but for what ``stuck`` names."""

    def __init__(self) -> None:
        self.api = FakeApi()
        self.stuck: set[str] = set()
        self._stopping = threading.Event()
        self.api.create(f"{APPS}/namespaces/knative-serving/deployments", KNATIVE_AUTOSCALER)
        self.api.create("/api/v1/namespaces/knative-serving/configmaps", {"metadata": {"name": "config-deployment"}})
        self.api.create("/api/v1/nodes", {"metadata": {"name": "n1", "labels": {"hasgpu.dev/enabled": "true"}}})
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stopping.set()
        self._thread.join()
        self.api.close()

    def get(self, path: str) -> dict[str, Any]:
        return self.api.get(path) or {}

    def _run(self) -> None:
        while not self._stopping.wait(0.01):
            with self.api.changed:
                for kind, objects in list(self.api.store.objects.items()):
                    for (namespace, name), body in list(objects.items()):
                        self._finish(kind, namespace, name, body)

    def _finish(self, kind: tuple[str, str], namespace: str, name: str, body: dict[str, Any]) -> None:
        changes: dict[str, Any] = {}
        generation = body["metadata"].get("generation", 1)
        if name in self.stuck:
            return
        if kind[1] == "deployments":
            wanted = body["spec"].get("replicas", 1)
            counts = dict.fromkeys(("replicas", "updatedReplicas", "availableReplicas"), wanted)
            changes = {"status": {"observedGeneration": generation, **counts}}
            if body["spec"]["template"]["spec"]["serviceAccountName"] == "hasgpu-autoscaler":
                self._lead()
        elif kind[1] == "daemonsets":
            counts = dict.fromkeys(("desiredNumberScheduled", "numberReady", "updatedNumberScheduled"), 1)
            changes = {"status": {"observedGeneration": generation, **counts}}
        elif kind[1] == "customresourcedefinitions":
            changes = {"status": {"conditions": [{"type": "Established", "status": "True"}]}}
        elif kind[1] == "mutatingwebhookconfigurations":
            hooks = [
                {**each, "clientConfig": {**each["clientConfig"], "caBundle": "Q0E="}} for each in body["webhooks"]
            ]
            changes = {"webhooks": hooks}
        if changes and any(body.get(key) != value for key, value in changes.items()):
            prefix = f"{kind[0]}/namespaces/{namespace}" if namespace else kind[0]
            self.api.merge(f"{prefix}/{kind[1]}/{name}", changes)

    def _lead(self) -> None:
        path = "/apis/coordination.k8s.io/v1/namespaces/knative-serving/leases"
        if self.api.get(f"{path}/hasgpu-allocator") is None:
            self.api.create(path, {"metadata": {"name": "hasgpu-allocator"}, "spec": {"holderIdentity": "a_10.0.0.1"}})
