"""The agent's HTTPS port over loopback, with certificates of a test authority."""

from __future__ import annotations

import http.client
import json
import os
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from hasgpu.nodeagent.api import MOST_CONNECTIONS, Api, Certificates

from tests.nodeagent.test_slices import Node, pod, uid


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def mount(folder: Path, authority: trustme.CA, name: str) -> None:
    folder.mkdir(exist_ok=True)
    issued = authority.issue_cert(name)
    issued.private_key_pem.write_to_path(folder / "tls.key")
    (folder / "tls.crt").write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    authority.cert_pem.write_to_path(folder / "ca.crt")


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path / "run")


@pytest.fixture
def api(node: Node, authority: trustme.CA, tmp_path: Path) -> Iterator[Api]:
    mount(tmp_path / "tls", authority, "localhost")
    serving = Api(
        0, Certificates(tmp_path / "tls"), node.slices.wait_newer, lambda: "hw_errors_total 0\n", lambda: True
    )
    serving.start()
    yield serving
    serving.stop()


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


def known(authority: trustme.CA) -> ssl.SSLContext:
    context = trusting(authority)
    authority.issue_cert("autoscaler").configure_cert(context)
    return context


def get(api: Api, context: ssl.SSLContext, path: str) -> tuple[int, str]:
    connection = http.client.HTTPSConnection("localhost", api.port, context=context, timeout=5)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def test_the_autoscaler_reads_what_is_laid(api: Api, node: Node, authority: trustme.CA) -> None:
    node.see(pod(1, 30))
    status, body = get(api, known(authority), "/v1/slices")
    report = json.loads(body)
    assert status == 200
    assert (report["node"], report["pods"][0]["pod_uid"], report["pods"][0]["quota_percent"]) == ("node1", uid(1), 30)


def test_a_long_poll_answers_when_a_generation_is_applied(api: Api, node: Node, authority: trustme.CA) -> None:
    node.see(pod(1, 30))
    revision = node.slices.report().revision
    change = threading.Timer(0.1, lambda: node.see(pod(1, 60, generation=2)))
    change.start()
    _, body = get(api, known(authority), f"/v1/slices?after={revision}&timeout=5s")
    change.join()
    assert json.loads(body)["pods"][0]["generation"] == 2


def test_a_long_poll_answers_when_its_time_is_over(api: Api, node: Node, authority: trustme.CA) -> None:
    revision = node.slices.report().revision
    status, body = get(api, known(authority), f"/v1/slices?after={revision}&timeout=20ms")
    assert (status, json.loads(body)["revision"]) == (200, revision)


def test_slices_are_told_to_nobody_without_a_certificate(api: Api, authority: trustme.CA) -> None:
    assert get(api, trusting(authority), "/v1/slices")[0] == 403


def test_a_certificate_of_another_authority_ends_the_connection(api: Api, authority: trustme.CA) -> None:
    context = trusting(authority)
    trustme.CA().issue_cert("autoscaler").configure_cert(context)
    with pytest.raises((ssl.SSLError, ConnectionError)):
        get(api, context, "/healthz")


@pytest.mark.parametrize("path", ["/metrics", "/healthz"])
def test_probes_and_scrapers_need_no_certificate(api: Api, authority: trustme.CA, path: str) -> None:
    assert get(api, trusting(authority), path)[0] == 200


@pytest.mark.parametrize("query", ["after=x", "timeout=soon"])
def test_a_bad_query_is_told(api: Api, authority: trustme.CA, query: str) -> None:
    assert get(api, known(authority), f"/v1/slices?{query}")[0] == 400


def test_a_renewed_certificate_is_used_for_the_next_connection(api: Api, authority: trustme.CA, tmp_path: Path) -> None:
    other = trustme.CA()
    mount(tmp_path / "tls", other, "localhost")
    os.utime(tmp_path / "tls" / "tls.crt", ns=(1, 1))
    assert get(api, trusting(other), "/healthz")[0] == 200


def test_strangers_who_say_nothing_take_no_thread_from_the_autoscaler(
    api: Api, node: Node, authority: trustme.CA
) -> None:
    poll = http.client.HTTPSConnection("localhost", api.port, context=known(authority), timeout=5)
    poll.request("GET", "/v1/slices?after=0")
    assert poll.getresponse().read()
    silent = [socket.create_connection(("localhost", api.port)) for _ in range(MOST_CONNECTIONS + 20)]
    try:
        poll.request("GET", "/v1/slices?after=0")
        assert poll.getresponse().status == 200
        # Those above the bound are sent away at once.
        silent[-1].settimeout(5)
        assert silent[-1].recv(1) == b""
    finally:
        for each in silent:
            each.close()
        poll.close()
