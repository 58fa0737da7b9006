"""A Knative Service and the pod Knative makes of it, cut to what admission reads."""

from __future__ import annotations

import copy
from typing import Any

import jsonpatch
import msgspec
from hasgpu_webhook.objects import Pod, Service
from hasgpu_webhook.surroundings import Injection, Surroundings
from hasgpu_webhook.verdict import Verdict

Json = dict[str, Any]

INJECTION = Injection(
    sidecar_image="hasgpu.local/hasgpu-sidecar:1",
    image_pull_policy="IfNotPresent",
    image_pull_secrets=(),
    runtime_class="nvidia",
    tolerations=(),
    progress_deadline="1h",
)
NOTHING_KNOWN = Surroundings()
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
SLO = {"hasgpu.dev/slo-latency": "200ms"}
RESTRICTED: Json = {
    "runAsNonRoot": True,
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}


def a_service(annotations: dict[str, str] | None = None, **container: Any) -> Json:
    """As ``kn service create classify`` sends it."""
    return {
        "apiVersion": "serving.knative.dev/v1",
        "kind": "Service",
        "metadata": {"name": "classify", "namespace": "default"},
        "spec": {
            "template": {
                "metadata": {"annotations": dict(SLO if annotations is None else annotations)},
                "spec": {"containers": [{"image": "registry/classify", **container}]},
            }
        },
    }


def a_pod(annotations: dict[str, str] | None = None, **container: Any) -> Json:
    """As the ReplicaSet controller creates it for a revision."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "generateName": "classify-00001-deployment-5d8c7-",
            "namespace": "default",
            "labels": {
                "serving.knative.dev/revision": "classify-00001",
                "serving.knative.dev/service": "classify",
            },
            "annotations": {
                "kubectl.kubernetes.io/default-container": "user-container",
                **(SLO if annotations is None else annotations),
            },
        },
        "spec": {
            "containers": [
                {
                    "name": "user-container",
                    "image": "registry/classify",
                    "ports": [{"name": "user-port", "containerPort": 8080}],
                    "env": [{"name": "PORT", "value": "8080"}],
                    **container,
                },
                {
                    "name": "queue-proxy",
                    "image": "knative/queue",
                    "env": [{"name": "SERVING_POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
                    "readinessProbe": {"httpGet": {"port": 8012}, "periodSeconds": 10},
                },
            ]
        },
    }


def service(json: Json) -> Service:
    """Typed, as the handler decodes it."""
    return msgspec.json.decode(msgspec.json.encode(json), type=Service)


def pod(json: Json) -> Pod:
    """Typed, as the handler decodes it."""
    return msgspec.json.decode(msgspec.json.encode(json), type=Pod)


def applied(json: Json, verdict: Verdict) -> Json:
    """The object after the verdict's patch, as another implementation of RFC 6902 applies it."""
    assert verdict.allowed, verdict.problems
    patch = jsonpatch.JsonPatch(list(verdict.operations))
    result: Json = patch.apply(copy.deepcopy(json))
    return result
