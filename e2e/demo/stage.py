"""Sets the stage on a cluster with hasgpu installed, and clears it: namespace, receivers, tracing, sink, functions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from e2e.commands import (
    REGISTRY,
    CommandFailed,
    apply,
    end_services,
    kubectl,
    kubectl_json,
    remove_services,
    wait_if_leaving,
)

from .functions import FUNCTIONS

NAMESPACE = "hasgpu-demo"
RECEIVERS = "hasgpu-receivers"
KNATIVE = "knative-serving"
HERE = Path(__file__).parent
OBSERVABILITY = {
    "tracing-protocol": "http/protobuf",
    "tracing-endpoint": f"http://receivers.{RECEIVERS}.svc/v1/traces",
    "tracing-sampling-rate": "1",
}


def receivers_up() -> None:
    """The OTLP receiver and the CloudEvents sink run, and the autoscaler and webhook report to them."""
    wait_if_leaving(RECEIVERS)
    apply((HERE.parent / "receivers/receivers.yaml").read_text().replace("hasgpu.local/", f"{REGISTRY}/"))
    kubectl("--namespace", RECEIVERS, "rollout", "status", "deployment/receivers", "--timeout=60s")
    patch = json.dumps({"data": OBSERVABILITY})
    kubectl("--namespace", KNATIVE, "patch", "configmap", "config-observability", "--type=merge", "-p", patch)
    sink = f"K_SINK=http://receivers.{RECEIVERS}.svc"
    kubectl("--namespace", KNATIVE, "set", "env", "deployment/autoscaler", sink)
    # Tracing is read once, at a process's start; the autoscaler restarts for its new environment.
    kubectl("--namespace", "hasgpu-system", "rollout", "restart", "deployment/hasgpu-webhook")
    kubectl("--namespace", KNATIVE, "rollout", "status", "deployment/autoscaler", "--timeout=120s")
    kubectl("--namespace", "hasgpu-system", "rollout", "status", "deployment/hasgpu-webhook", "--timeout=120s")


def functions_up() -> None:
    """Both functions exist afresh, with their profiles, and are Ready."""
    wait_if_leaving(NAMESPACE)
    apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    remove_services(NAMESPACE)
    for profile in sorted((HERE / "profiles").glob("*.yaml")):
        kubectl("--namespace", NAMESPACE, "apply", "-f", str(profile))
    for function in FUNCTIONS:
        function.create(NAMESPACE)


def cleared() -> None:
    """Functions and receivers leave and Knative's settings are as they were; nobody waits for pods that drain."""
    try:
        end_services(NAMESPACE)
    except CommandFailed as failure:
        print(f"demo: could not clear: {failure}")
    patch = json.dumps({"data": dict.fromkeys(OBSERVABILITY)})
    for words in (
        ("--namespace", KNATIVE, "patch", "configmap", "config-observability", "--type=merge", "-p", patch),
        ("--namespace", KNATIVE, "set", "env", "deployment/autoscaler", "K_SINK-"),
        ("delete", "namespace", NAMESPACE, RECEIVERS, "--ignore-not-found", "--wait=false"),
    ):
        try:
            kubectl(*words)
        except CommandFailed as failure:
            print(f"demo: could not clear: {failure}")


def received(what: str) -> list[dict[str, Any]]:
    """Spans or events that arrived: ``what`` is "spans" or "events"."""
    path = f"/api/v1/namespaces/{RECEIVERS}/services/receivers:http/proxy/{what}"
    answer: list[dict[str, Any]] = json.loads(kubectl("get", "--raw", path))
    return answer


def user_container(service: str) -> dict[str, Any]:
    """The first pod of a service with its user container's id, for a look at what restarts did not happen."""
    pods = kubectl_json("get", "pods", "--namespace", NAMESPACE, "-l", f"serving.knative.dev/service={service}")
    first: dict[str, Any] = pods["items"][0] if pods["items"] else {}
    return first
