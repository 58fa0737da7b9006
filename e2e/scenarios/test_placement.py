"""A full GPU: who waits is told why, is served when room comes, and a new revision replaces the old one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from e2e.commands import kn, kubectl, kubectl_json

from .conftest import events, is_ready, pods, until

IMAGE = "hasgpu.local/inference:1"


@pytest.fixture
def short_deadline() -> Iterator[int]:
    """Knative gives up on a Revision after so many seconds, unless the service says otherwise."""
    seconds = 20
    config = ("--namespace", "knative-serving", "patch", "configmap", "config-deployment", "--type=merge", "-p")
    kubectl(*config, json.dumps({"data": {"progress-deadline": f"{seconds}s"}}))
    yield seconds
    kubectl(*config, json.dumps({"data": {"progress-deadline": None}}))


def fixed(namespace: str, name: str, *, sm: int, quota: int) -> None:
    """A service with a slice of fixed size that always has one pod."""
    kn(
        *("service", "create", name, "--namespace", namespace, "--image", IMAGE, "--port", "8080"),
        *("--env", "MODEL=resnet50", "--scale-min", "1", "--scale-max", "1"),
        "--annotation-revision=hasgpu.dev/scaling=fixed",
        f"--annotation-revision=hasgpu.dev/sm-partition={sm}%",
        f"--annotation-revision=hasgpu.dev/time-quota={quota}%",
        "--annotation-revision=hasgpu.dev/gpu-memory=1Gi",
        *("--wait-timeout", "60"),
    )


def gpu_count() -> int:
    return len(kubectl_json("get", "gpus")["items"])


def ready_names(namespace: str) -> set[str]:
    found = [pod for pod in pods(namespace) if is_ready(pod) and "deletionTimestamp" not in pod["metadata"]]
    return {pod["metadata"]["labels"]["serving.knative.dev/service"] for pod in found}


def ready_condition(namespace: str, revision: str) -> dict[str, Any]:
    conditions = kubectl_json("get", "revision", revision, "--namespace", namespace)["status"].get("conditions", [])
    return next((c for c in conditions if c["type"] == "Ready"), {})


def test_a_service_without_room_waits_says_why_and_is_served_when_room_comes(
    namespace: str, short_deadline: int
) -> None:
    for index in range(gpu_count()):
        fixed(namespace, f"filler-{index}", sm=100, quota=100)
    kn(
        *("service", "create", "late", "--namespace", namespace, "--image", IMAGE, "--port", "8080", "--no-wait"),
        *("--env", "MODEL=resnet50", "--annotation-revision=hasgpu.dev/slo-latency=500ms"),
    )
    told = until(
        lambda: [
            e for e in events(namespace) if "late" in e["involvedObject"]["name"] and "room" in e["message"].lower()
        ],
        30,
        "an Event that says there is no room",
    )
    assert told
    # Waiting for room must not fail the Revision.
    until(lambda: _age_s(namespace, "late") > short_deadline + 10, 60, "the deadline to pass")
    assert ready_condition(namespace, "late-00001").get("status") != "False"
    kn("service", "delete", "filler-0", "--namespace", namespace)
    until(lambda: "late" in ready_names(namespace), 90, "the waiting service is served")


def _age_s(namespace: str, service: str) -> float:
    made = kubectl_json("get", "ksvc", service, "--namespace", namespace)["metadata"]["creationTimestamp"]
    return (datetime.now(UTC) - datetime.fromisoformat(made)).total_seconds()


def test_a_new_revision_on_a_full_gpu_replaces_the_old_one(namespace: str) -> None:
    for index in range(gpu_count()):
        kn(
            *("service", "create", f"full-{index}", "--namespace", namespace, "--image", IMAGE, "--port", "8080"),
            *("--env", "MODEL=resnet50", "--scale-min", "1", "--scale-max", "1", "--wait-timeout", "60"),
            "--annotation-revision=hasgpu.dev/slo-latency=500ms",
            "--annotation-revision=hasgpu.dev/sm-partition=100%",
            "--annotation-revision=hasgpu.dev/gpu-memory=6Gi",
        )
    kn("service", "update", "full-0", "--namespace", namespace, "--env", "GREETING=2", "--wait-timeout", "120")
    revision = json.loads(kubectl("get", "ksvc", "full-0", "--namespace", namespace, "-o", "json"))
    assert revision["status"]["latestReadyRevisionName"] == "full-0-00002"
