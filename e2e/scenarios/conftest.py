"""A namespace of its own for each test, and the cluster through a user's commands."""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from e2e.commands import CommandFailed, apply, environment, kubectl


@pytest.fixture(scope="session", autouse=True)
def _cluster() -> None:
    os.environ.update(environment())
    try:
        kubectl("get", "crd", "gpus.hasgpu.dev", timeout_s=20)
    except CommandFailed as failure:
        pytest.exit(f"no cluster with hasgpu to test on: {failure}", returncode=3)


@pytest.fixture
def namespace() -> Iterator[str]:
    """A fresh namespace, deleted afterwards."""
    yield from fresh_namespace()


def fresh_namespace(labels: dict[str, str] | None = None) -> Iterator[str]:
    """Creates a namespace with labels and deletes it at the end, waiting until its pods are gone.

    The namespace itself may stay a while: its controller looks again after half the pods' grace period.
    """
    name = f"e2e-{uuid.uuid4().hex[:8]}"
    apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels or {}}})
    try:
        yield name
    finally:
        kubectl("delete", "namespace", name, "--wait=false")
        until(lambda: not pods(name), 90, f"the pods of {name} are gone")


def until(check: Callable[[], Any], timeout_s: float, what: str, every_s: float = 0.2) -> Any:
    """The first true value of ``check``; fails naming ``what`` when it does not come in time."""
    deadline, last = time.monotonic() + timeout_s, None
    while time.monotonic() < deadline:
        last = check()
        if last:
            return last
        time.sleep(every_s)
    pytest.fail(f"not within {timeout_s} s: {what}; last seen: {last!r}")


def pods(namespace: str, selector: str = "") -> list[dict[str, Any]]:
    """Pods of a namespace as the API server has them."""
    words = ["get", "pods", "--namespace", namespace, "-o", "json"]
    items: list[dict[str, Any]] = json.loads(kubectl(*words, *(["-l", selector] if selector else [])))["items"]
    return items


def events(namespace: str) -> list[dict[str, Any]]:
    """Events of a namespace."""
    items: list[dict[str, Any]] = json.loads(kubectl("get", "events", "--namespace", namespace, "-o", "json"))["items"]
    return items


def is_ready(pod: dict[str, Any]) -> bool:
    """True for a pod whose Ready condition is True."""
    conditions = pod["status"].get("conditions", [])
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
