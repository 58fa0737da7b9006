"""Secrets and caBundle in a cluster: made once, found by the others, repaired."""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hasgpu_webhook.certificates import Certificates

from tests.cluster.fake_api import FakeApi

CONFIGURATIONS = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
NOW_S = 1_772_000_000.0


@pytest.fixture
def api() -> Iterator[FakeApi]:
    with FakeApi() as api:
        webhooks = [{"name": f"{name}.webhook.hasgpu.dev", "clientConfig": {}} for name in ("services", "pods")]
        api.create(CONFIGURATIONS, {"metadata": {"name": "hasgpu-webhook"}, "webhooks": webhooks})
        yield api


def certificates(api: FakeApi, folder: Path) -> Certificates:
    return Certificates(
        api.session(),
        namespace="hasgpu-system",
        knative_namespace="knative-serving",
        server_file=folder / "server.pem",
    )


def data(api: FakeApi, namespace: str, name: str) -> dict[str, bytes]:
    found = api.get(f"/api/v1/namespaces/{namespace}/secrets/{name}")
    assert found is not None
    return {key: base64.b64decode(value) for key, value in found["data"].items()}


def bundles(api: FakeApi) -> list[bytes]:
    found: dict[str, Any] | None = api.get(f"{CONFIGURATIONS}/hasgpu-webhook")
    assert found is not None
    return [base64.b64decode(webhook["clientConfig"].get("caBundle", "")) for webhook in found["webhooks"]]


def test_the_first_start_makes_the_authority_and_three_leaves(api: FakeApi, tmp_path: Path) -> None:
    certificates(api, tmp_path).ensure(NOW_S)
    authority = data(api, "hasgpu-system", "hasgpu-ca")
    for namespace, name in (
        ("hasgpu-system", "hasgpu-webhook-tls"),
        ("hasgpu-system", "hasgpu-agent-tls"),
        ("knative-serving", "hasgpu-autoscaler-tls"),
    ):
        leaf = data(api, namespace, name)
        assert set(leaf) == {"tls.crt", "tls.key", "ca.crt"}
        assert leaf["ca.crt"] == authority["ca.crt"]
    assert bundles(api) == [authority["ca.crt"]] * 2
    own = data(api, "hasgpu-system", "hasgpu-webhook-tls")
    assert (tmp_path / "server.pem").read_bytes() == own["tls.crt"] + own["tls.key"]
    assert (tmp_path / "server.pem").stat().st_mode & 0o077 == 0


def test_replicas_that_start_at_once_end_with_one_authority(api: FakeApi, tmp_path: Path) -> None:
    folders = [tmp_path / str(number) for number in range(4)]
    for folder in folders:
        folder.mkdir()
    replicas = [
        threading.Thread(target=lambda folder=folder: certificates(api, folder).ensure(NOW_S)) for folder in folders
    ]
    for replica in replicas:
        replica.start()
    for replica in replicas:
        replica.join()
    assert len({(folder / "server.pem").read_bytes() for folder in folders}) == 1
    assert bundles(api) == [data(api, "hasgpu-system", "hasgpu-ca")["ca.crt"]] * 2


def test_a_second_round_writes_nothing(api: FakeApi, tmp_path: Path) -> None:
    kept = certificates(api, tmp_path)
    kept.ensure(NOW_S)
    before = api.get("/api/v1/namespaces/hasgpu-system/secrets/hasgpu-ca"), api.get(f"{CONFIGURATIONS}/hasgpu-webhook")
    kept.ensure(NOW_S + 60)
    after = api.get("/api/v1/namespaces/hasgpu-system/secrets/hasgpu-ca"), api.get(f"{CONFIGURATIONS}/hasgpu-webhook")
    assert after == before


def test_a_deleted_leaf_and_an_emptied_bundle_come_back(api: FakeApi, tmp_path: Path) -> None:
    kept = certificates(api, tmp_path)
    kept.ensure(NOW_S)
    api.delete("/api/v1/namespaces/hasgpu-system/secrets/hasgpu-agent-tls")
    api.merge(
        f"{CONFIGURATIONS}/hasgpu-webhook", {"webhooks": [{"name": "services.webhook.hasgpu.dev", "clientConfig": {}}]}
    )
    kept.ensure(NOW_S + 60)
    authority = data(api, "hasgpu-system", "hasgpu-ca")
    assert data(api, "hasgpu-system", "hasgpu-agent-tls")["ca.crt"] == authority["ca.crt"]
    assert bundles(api) == [authority["ca.crt"]]


def test_without_a_configuration_it_serves_all_the_same(tmp_path: Path) -> None:
    with FakeApi() as api:
        certificates(api, tmp_path).ensure(time.time())
    assert (tmp_path / "server.pem").exists()
