"""A service that says nothing of hasgpu: its pods are byte for byte what Knative alone makes of it."""

from __future__ import annotations

import copy
import json
from typing import Any

from e2e.commands import kn, kubectl

from .conftest import pods, until

Json = dict[str, Any]
# What Kubernetes' own admission and scheduler write into every pod.
_KUBERNETES = ("nodeName", "priority", "preemptionPolicy", "serviceAccount", "serviceAccountName")
_DEFAULT_TOLERATIONS = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")


def as_made(pod: Json) -> Json:
    """A pod's spec without what Kubernetes itself added to its template's."""
    spec = copy.deepcopy(pod["spec"])
    for field in _KUBERNETES:
        spec.pop(field, None)
    tokens = {volume["name"] for volume in spec["volumes"] if volume["name"].startswith("kube-api-access-")}
    without = {"volumes": [volume for volume in spec["volumes"] if volume["name"] not in tokens]}
    without["tolerations"] = [each for each in spec["tolerations"] if each.get("key") not in _DEFAULT_TOLERATIONS]
    for container in spec["containers"]:
        container["volumeMounts"] = [mount for mount in container["volumeMounts"] if mount["name"] not in tokens]
        if not container["volumeMounts"]:
            del container["volumeMounts"]
    for field, items in without.items():
        spec[field] = items
        if not items:
            del spec[field]
    return spec


def test_its_pods_are_what_knative_makes(namespace: str) -> None:
    kn(
        *("service", "create", "plain", "--namespace", namespace, "--image", "hasgpu.local/kn-helloworld:1"),
        *("--scale-min", "1", "--timeout", "5", "--wait-timeout", "60"),
    )
    pod = until(lambda: pods(namespace), 10, "a pod")[0]
    found = json.loads(kubectl("get", "replicasets", "--namespace", namespace, "-o", "json"))["items"]
    template = found[0]["spec"]["template"]
    assert json.dumps(as_made(pod), sort_keys=True) == json.dumps(template["spec"], sort_keys=True)
    assert pod["metadata"]["annotations"] == template["metadata"]["annotations"]
    assert "hasgpu.dev" not in json.dumps(pod["spec"])
    service = json.loads(kubectl("get", "ksvc", "plain", "--namespace", namespace, "-o", "json"))
    assert "hasgpu.dev" not in json.dumps(service["spec"]["template"]["metadata"])
