"""What a pod is given to speak to its API server, and what is made of it when files change or are missing."""

from __future__ import annotations

import ssl
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from hasgpu.cluster.errors import Unreachable
from hasgpu.cluster.service_account import ServiceAccount
from hasgpu.cluster.session import Session


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "token").write_text("first\n")
    (tmp_path / "ca.crt").write_text("a certificate")
    return tmp_path


@pytest.mark.parametrize(
    ("environment", "url"),
    [
        pytest.param(
            {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "6443"},
            "https://10.96.0.1:6443",
            id="v4",
        ),
        pytest.param(
            {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443"}, "https://[fd00::1]:443", id="v6"
        ),
        pytest.param({"KUBERNETES_SERVICE_HOST": "10.96.0.1"}, "https://10.96.0.1:443", id="no port is that of HTTPS"),
    ],
)
def test_the_api_server_is_where_the_environment_says(folder: Path, environment: dict[str, str], url: str) -> None:
    assert ServiceAccount(environment, folder).url == url


def test_a_renewed_token_is_read_within_a_minute_and_a_missing_one_leaves_the_last(folder: Path) -> None:
    now = 100.0
    account = ServiceAccount({"KUBERNETES_SERVICE_HOST": "h"}, folder, lambda: now)
    (folder / "token").write_text("second")
    assert account.authorization() == "Bearer first"
    now = 160.0
    assert account.authorization() == "Bearer second"
    (folder / "token").unlink()
    now = 220.0
    assert account.authorization() == "Bearer second"


@pytest.mark.parametrize("missing", ["token", "ca.crt"])
def test_a_pod_without_a_service_account_is_told_what_is_missing(folder: Path, missing: str) -> None:
    (folder / missing).unlink()
    with pytest.raises(Unreachable, match=missing):
        ServiceAccount({"KUBERNETES_SERVICE_HOST": "h"}, folder)


def test_an_empty_token_is_none(folder: Path) -> None:
    (folder / "token").write_text("")
    with pytest.raises(Unreachable, match="is empty"):
        ServiceAccount({"KUBERNETES_SERVICE_HOST": "h"}, folder)


class Answer(BaseHTTPRequestHandler):
    """Says who asks."""

    def do_GET(self) -> None:
        body = self.headers["Authorization"].encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


def certificate(file: Path, key: Path) -> None:
    """One that signed itself."""
    asked = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "1", "-nodes"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-keyout", str(key), "-out", str(file), *asked]
    subprocess.run(command, check=True, capture_output=True)


@pytest.fixture
def api_server(folder: Path) -> Iterator[ServiceAccount]:
    """Over TLS with a certificate that ca.crt vouches for; the account of a pod beside it."""
    certificate(folder / "ca.crt", folder / "key")
    server = HTTPServer(("127.0.0.1", 0), Answer)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "ca.crt", folder / "key")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    port = str(server.server_address[1])
    yield ServiceAccount({"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": port}, folder)
    server.shutdown()
    server.server_close()


def test_requests_of_a_pod_bear_its_token_over_tls(api_server: ServiceAccount) -> None:
    assert Session.in_pod(api_server).request("GET", "/") == b"Bearer first"


def test_a_server_that_the_pods_authority_does_not_vouch_for_gets_no_token(
    api_server: ServiceAccount, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = tmp_path_factory.mktemp("other") / "ca.crt"
    certificate(other, other.with_name("key"))
    api_server.ca_file = other
    with pytest.raises(Unreachable, match="CERTIFICATE_VERIFY_FAILED"):
        Session.in_pod(api_server).request("GET", "/", timeout_s=2.0)
