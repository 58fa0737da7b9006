"""The cluster's DNS answers as Kubernetes promises: Services by ClusterIP, headless ones by their ready endpoints."""

from __future__ import annotations

import socket
import struct
from typing import Any

import pytest

from e2e.testbed.dns import Records, answer

A, AAAA, CNAME = 1, 28, 5


def service(**spec: Any) -> dict[str, Any]:
    return {"spec": spec}


def endpoints(service_name: str, *hosts: tuple[str, str, bool]) -> dict[str, Any]:
    return {
        "metadata": {"labels": {"kubernetes.io/service-name": service_name}},
        "endpoints": [
            {"hostname": name, "addresses": [address], "conditions": {"ready": ready}} for name, address, ready in hosts
        ],
    }


RECORDS = Records(
    services={
        ("knative-serving", "autoscaler"): service(clusterIP="10.96.0.7", type="ClusterIP"),
        ("kourier-system", "kourier-internal"): service(clusterIP="10.96.0.9"),
        ("default", "hello"): service(
            type="ExternalName", externalName="kourier-internal.kourier-system.svc.cluster.local"
        ),
        ("default", "outside"): service(type="ExternalName", externalName="example.test"),
        ("default", "many"): service(clusterIP="None"),
    },
    slices={
        ("default", "many-1"): endpoints("many", ("a", "10.88.0.4", True), ("b", "10.88.0.5", False)),
        ("other", "many-1"): endpoints("many", ("c", "10.88.0.6", True)),
    },
)


def query(name: str, kind: int) -> bytes:
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return struct.pack("!HHHHHH", 77, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!HH", kind, 1)


def ask(name: str, kind: int = A) -> tuple[int, list[str]]:
    """(response code, addresses) with the header checked."""
    question = query(name, kind)
    reply = answer(question, RECORDS)
    identity, flags, questions, answers, *_ = struct.unpack("!HHHHHH", reply[:12])
    assert (identity, questions, flags & 0x8000) == (77, 1, 0x8000)
    addresses, at = [], len(question)
    for _ in range(answers):
        while reply[at]:
            at += 1 + reply[at]
        record, _class, _ttl, length = struct.unpack("!HHIH", reply[at + 1 : at + 11])
        if record == A:
            addresses.append(socket.inet_ntoa(reply[at + 11 : at + 15]))
        at += 11 + length
    assert at == len(reply)
    return flags & 0xF, addresses


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("autoscaler.knative-serving.svc.cluster.local", A, (0, ["10.96.0.7"])),
        ("AUTOSCALER.knative-serving.svc.cluster.local", A, (0, ["10.96.0.7"])),
        ("autoscaler.knative-serving.svc.cluster.local", AAAA, (0, [])),
        ("hello.default.svc.cluster.local", A, (0, ["10.96.0.9"])),
        ("outside.default.svc.cluster.local", A, (0, [])),
        ("many.default.svc.cluster.local", A, (0, ["10.88.0.4"])),
        ("a.many.default.svc.cluster.local", A, (0, ["10.88.0.4"])),
        ("b.many.default.svc.cluster.local", A, (3, [])),
        ("absent.default.svc.cluster.local", A, (3, [])),
        ("example.org", A, (3, [])),
    ],
    ids=[
        "a Service has its ClusterIP",
        "case does not matter",
        "a known name without that kind of record is empty, not absent",
        "an external name leads to the Service behind it",
        "an external name outside is only an alias",
        "a headless Service has its ready endpoints and no other namespace's",
        "an endpoint has a name of its own",
        "an endpoint that is not ready is absent",
        "an unknown Service is absent",
        "the world outside is absent",
    ],
)
def test_a_question_gets_its_answer(name: str, kind: int, expected: tuple[int, list[str]]) -> None:
    assert ask(name, kind) == expected


def test_an_answer_too_strange_is_refused_not_guessed() -> None:
    notify = struct.pack("!HHHHHH", 5, 0x2000, 1, 0, 0, 0) + b"\0" + struct.pack("!HH", A, 1)
    assert struct.unpack("!HH", answer(notify, RECORDS)[:4])[1] & 0xF == 4
