"""The whole process against a fake API server: certificates, TLS, reviews, renewal, the end."""

from __future__ import annotations

import base64
import http.client
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonpatch
import pytest
import yaml
from hasgpu_webhook.certificates import Certificates
from hasgpu_webhook.server import THREADS

from tests.cluster.fake_api import FakeApi
from tests.webhook.admission_examples import SLO, TRACEPARENT, Json, a_pod, a_service

KNATIVE = "/api/v1/namespaces/knative-serving/configmaps"
SECRET = "/api/v1/namespaces/hasgpu-system/secrets/hasgpu-webhook-tls"
UP_WITHIN_S = 20.0


@dataclass
class Webhook:
    """The running process as the API server sees it: trusted by caBundle alone."""

    api: FakeApi
    port: int
    process: subprocess.Popen[bytes]
    folder: Path

    def connection(self) -> http.client.HTTPSConnection:
        found = self.api.get("/api/v1/namespaces/hasgpu-system/secrets/hasgpu-ca")
        assert found is not None
        context = ssl.create_default_context(cadata=base64.b64decode(found["data"]["ca.crt"]).decode())
        connection = _Named("hasgpu-webhook.hasgpu-system.svc", context, self.port)
        connection.connect()
        return connection

    def post(self, path: str, body: Json | bytes, headers: dict[str, str] | None = None) -> tuple[int, bytes]:
        connection = self.connection()
        try:
            payload = body if isinstance(body, bytes) else json.dumps(body).encode()
            connection.request("POST", path, payload, {"Content-Type": "application/json", **(headers or {})})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def review(self, path: str, object_: Json, **request: Any) -> Json:
        asked = {"uid": "u-1", "operation": "CREATE", "namespace": "default", "object": object_, **request}
        body = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": asked}
        status, answer = self.post(path, body)
        assert status == 200, answer
        response: Json = json.loads(answer)["response"]
        assert response["uid"] == "u-1"
        return response


class _Named(http.client.HTTPSConnection):
    """Connects to loopback and asks for the certificate of a Service, as the API server does."""

    def __init__(self, name: str, context: ssl.SSLContext, port: int) -> None:
        super().__init__("127.0.0.1", port, context=context, timeout=5)
        self._name, self._tls = name, context

    def connect(self) -> None:
        self.sock = self._tls.wrap_socket(
            socket.create_connection((self.host, self.port), timeout=5), server_hostname=self._name
        )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def webhook(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Webhook]:
    folder = tmp_path_factory.mktemp("webhook")
    with FakeApi() as api:
        api.create(KNATIVE, {"metadata": {"name": "config-hasgpu"}, "data": {"sidecar-image": "mirror/sidecar:7"}})
        gpu = {"node": "n", "uuid": "GPU-1", "product": "V100", "memory": "16Gi", "smCount": 80}
        api.create("/apis/hasgpu.dev/v1alpha1/gpus", {"metadata": {"name": "gpu-1"}, "spec": gpu})
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        api.create("/api/v1/namespaces", {"metadata": {"name": "strict", "labels": labels}})
        cluster = {
            "clusters": [{"name": "c", "cluster": {"server": api.url}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "users": [{"name": "u", "user": {}}],
            "current-context": "c",
        }
        (folder / "kubeconfig").write_text(yaml.safe_dump(cluster))
        port = free_port()
        variables = {
            "KUBECONFIG": str(folder / "kubeconfig"),
            "WEBHOOK_HOST": "127.0.0.1",
            "WEBHOOK_PORT": str(port),
            "WEBHOOK_TLS_FOLDER": str(folder),
        }
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "hasgpu_webhook"], env={**os.environ, **variables}, stderr=log
            )
        running = Webhook(api, port, process, folder)
        try:
            _wait_ready(running, folder / "log")
            yield running
        finally:
            process.kill()
            process.wait()


def _wait_ready(webhook: Webhook, log: Path) -> None:
    end = time.monotonic() + UP_WITHIN_S
    while time.monotonic() < end:
        try:
            status, _ = webhook.post("/services", b"{}")
        except (OSError, AssertionError, http.client.HTTPException):
            assert webhook.process.poll() is None, log.read_text()
            time.sleep(0.05)
            continue
        if status == 400:
            return
    pytest.fail(f"not ready after {UP_WITHIN_S} s: {log.read_text()}")


def test_a_service_is_completed(webhook: Webhook) -> None:
    json_ = a_service()
    response = webhook.review("/services", json_, oldObject=None)
    assert (response["allowed"], response["patchType"]) == (True, "JSONPatch")
    after = jsonpatch.apply_patch(json_, json.loads(base64.b64decode(response["patch"])))
    annotations = after["spec"]["template"]["metadata"]["annotations"]
    assert annotations["autoscaling.knative.dev/class"] == "has.autoscaling.hasgpu.dev"
    again = webhook.review("/services", after, oldObject=json_, operation="UPDATE")
    assert again["allowed"]
    assert not again.keys() & {"patch", "patchType"}


def test_a_bad_service_is_refused_in_one_line(webhook: Webhook) -> None:
    response = webhook.review("/services", a_service(SLO | {"hasgpu.dev/time-quota": "130%\n"}))
    assert not response["allowed"]
    assert response["status"]["code"] == 400
    assert "hasgpu.dev/time-quota='130%\\n' is not allowed" in response["status"]["message"]


def test_what_the_watches_saw_counts(webhook: Webhook) -> None:
    asked = a_service(SLO | {"hasgpu.dev/gpu-memory": "64Gi"})
    assert "the largest GPU of the cluster has 16Gi" in webhook.review("/services", asked)["status"]["message"]
    strict = webhook.review("/services", a_service(), namespace="strict")
    assert 'namespace strict enforces Pod Security "restricted"' in strict["status"]["message"]
    warnings = webhook.review("/services", a_service())["warnings"]
    assert warnings == ["hasgpu: RuntimeClass nvidia does not exist; GPU pods cannot be created without it"]


def test_a_pod_is_injected_with_the_settings_and_the_admit_spans_context(webhook: Webhook) -> None:
    json_ = a_pod()
    response = webhook.review("/pods", json_)
    after = jsonpatch.apply_patch(json_, json.loads(base64.b64decode(response["patch"])))
    assert after["spec"]["initContainers"][0]["image"] == "mirror/sidecar:7"
    traceparent = after["metadata"]["annotations"]["slice.hasgpu.dev/traceparent"]
    assert len(traceparent) == len(TRACEPARENT)
    assert "patch" not in webhook.review("/pods", after)


def test_a_malformed_object_is_refused_and_says_where(webhook: Webhook) -> None:
    json_ = a_service()
    json_["spec"]["template"]["metadata"]["annotations"]["hasgpu.dev/batch-size"] = 4
    message = webhook.review("/services", json_)["status"]["message"]
    assert "Expected `str`, got `int`" in message
    assert "annotations" in message


def test_what_is_no_review_is_turned_away(webhook: Webhook) -> None:
    assert webhook.post("/services", b"not JSON")[0] == 400


def test_a_body_too_large_is_turned_away_before_it_is_read(webhook: Webhook) -> None:
    connection = webhook.connection()
    connection.putrequest("POST", "/services")
    connection.putheader("Content-Length", str(5 << 20))
    connection.endheaders()
    assert connection.getresponse().status == 413
    connection.close()


def test_peers_that_fall_silent_in_the_handshake_hold_no_thread_for_long(webhook: Webhook) -> None:
    silent = [socket.create_connection(("127.0.0.1", webhook.port), timeout=5) for _ in range(THREADS)]
    try:
        for each in silent:
            each.sendall(b"\x16")
        assert webhook.post("/services", b"not JSON")[0] == 400
    finally:
        for each in silent:
            each.close()


def test_a_renewed_certificate_is_served_without_a_restart(webhook: Webhook) -> None:
    def serial() -> str:
        connection = webhook.connection()
        try:
            served = connection.sock.getpeercert()
            assert served is not None
            return str(served["serialNumber"])
        finally:
            connection.close()

    before = serial()
    webhook.api.delete(SECRET)
    Certificates(
        webhook.api.session(),
        namespace="hasgpu-system",
        knative_namespace="knative-serving",
        server_file=webhook.folder / "server.pem",
    ).ensure(time.time())
    assert serial() != before


def test_told_to_stop_it_finishes_and_goes(webhook: Webhook) -> None:
    webhook.process.send_signal(signal.SIGTERM)
    assert webhook.process.wait(timeout=10) == 0
