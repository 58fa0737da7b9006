"""Only an activator's own answer counts; the domain is found as Knative finds it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from hasgpu.autoscaler.activator_probe import activator_answers, cluster_domain, probe_port


class Endpoint(BaseHTTPRequestHandler):
    """What stands behind the public Service."""

    answer = (200, b"activator")
    seen: dict[str, str]

    def do_GET(self) -> None:
        type(self).seen = {"path": self.path, **dict(self.headers.items())}
        self.send_response(self.answer[0])
        self.end_headers()
        self.wfile.write(self.answer[1])

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def port() -> Iterator[int]:
    server = HTTPServer(("127.0.0.1", 0), Endpoint)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("answer", "want"),
    [
        pytest.param((200, b"activator"), True, id="an activator"),
        pytest.param((200, b"queue"), False, id="a queue-proxy"),
        pytest.param((400, b"activator"), False, id="an error"),
        pytest.param((200, b"activator and more"), False, id="anything else"),
    ],
)
def test_the_answer_decides(port: int, answer: tuple[int, bytes], want: bool) -> None:
    Endpoint.answer = answer
    assert activator_answers("127.0.0.1", port) is want
    assert Endpoint.seen["path"] == "/healthz"
    assert Endpoint.seen["User-Agent"] == "Knative-Autoscaling-Probe"
    assert Endpoint.seen["K-Network-Probe"] == "activator"


def test_no_answer_is_no() -> None:
    assert not activator_answers("127.0.0.1", 9)
    assert not activator_answers("nobody.invalid", 80)


def test_the_port_follows_the_protocol() -> None:
    assert (probe_port("http1"), probe_port("h2c")) == (80, 81)


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("search ns.svc.example.org svc.example.org example.org\nnameserver 10.0.0.1\n", "example.org"),
        ("search svc.cluster.internal. x\n", "cluster.internal"),
        ("nameserver 10.0.0.1\n", "cluster.local"),
        (None, "cluster.local"),
    ],
)
def test_the_domain_is_the_resolvers(
    text: str | None, want: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CLUSTER_DOMAIN", raising=False)
    path = tmp_path / "resolv.conf"
    if text is not None:
        path.write_text(text)
    assert cluster_domain(path) == want
    monkeypatch.setenv("CLUSTER_DOMAIN", "said.so")
    assert cluster_domain(path) == "said.so"
