"""Cluster DNS: answers for Services and their endpoints over UDP, from two watches. It may not write to the cluster.

Needed by the activator, by Envoy, and by the autoscaler, which looks a revision's name up before it scales to zero.
"""

from __future__ import annotations

import json
import socket
import struct
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from ssl import SSLContext, create_default_context
from typing import Any

from e2e.testbed.addresses import API_URL, CLUSTER_DOMAIN, DNS_IP
from e2e.testbed.paths import PKI

_A, _CNAME, _AAAA = 1, 5, 28
_SUFFIX = f".svc.{CLUSTER_DOMAIN}"
_TTL_S = 2
_OK, _NO_SUCH_NAME, _NOT_IMPLEMENTED = 0, 3, 4


@dataclass(slots=True)
class Records:
    """What the watches have seen, by (namespace, name). One writer thread per map."""

    services: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    slices: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)

    def lookup(self, name: str) -> tuple[list[str], list[str]] | None:
        """(names the answer passes through, addresses), or None where the name does not exist."""
        if not name.endswith(_SUFFIX):
            return None
        labels = name.removesuffix(_SUFFIX).split(".")
        if len(labels) == 3:
            return self._endpoint(*labels)
        if len(labels) != 2:
            return None
        service = self.services.get((labels[1], labels[0]))
        if service is None:
            return None
        spec = service["spec"]
        if spec.get("type") == "ExternalName":
            alias = spec["externalName"].rstrip(".").lower()
            behind = self.lookup(alias)
            return ([alias, *behind[0]], behind[1]) if behind else ([alias], [])
        if spec.get("clusterIP") not in (None, "", "None"):
            return [], [spec["clusterIP"]]
        return [], sorted({address for _host, address in self._endpoints(labels[1], labels[0])})

    def _endpoint(self, host: str, service: str, namespace: str) -> tuple[list[str], list[str]] | None:
        found = [address for name, address in self._endpoints(namespace, service) if name == host]
        return ([], found) if found else None

    def _endpoints(self, namespace: str, service: str) -> Iterator[tuple[str, str]]:
        for (slice_namespace, _name), endpoint_slice in list(self.slices.items()):
            labels = endpoint_slice["metadata"].get("labels") or {}
            if slice_namespace != namespace or labels.get("kubernetes.io/service-name") != service:
                continue
            for endpoint in endpoint_slice.get("endpoints") or ():
                if (endpoint.get("conditions") or {}).get("ready") is not False:
                    for address in endpoint.get("addresses") or ():
                        yield endpoint.get("hostname", ""), address


def answer(query: bytes, records: Records) -> bytes:
    """The reply to one question. A known name without the asked kind of record is empty, not absent."""
    identity, flags, questions = struct.unpack("!HHH", query[:6])
    if flags & 0x7800 or questions != 1:
        return struct.pack("!HHHHHH", identity, 0x8080 | _NOT_IMPLEMENTED, 0, 0, 0, 0)
    name, end = _read_name(query, 12)
    (kind,) = struct.unpack("!H", query[end : end + 2])
    question = query[12 : end + 4]
    found = records.lookup(name.lower())
    if found is None:
        return struct.pack("!HHHHHH", identity, 0x8580 | _NO_SUCH_NAME, 1, 0, 0, 0) + question
    aliases, addresses = found
    body, owner, count = b"", name, 0
    for alias in aliases:
        body += _record(owner, _CNAME, _name(alias))
        owner, count = alias, count + 1
    if kind == _A:
        for address in addresses[:16]:
            body += _record(owner, _A, socket.inet_aton(address))
            count += 1
    return struct.pack("!HHHHHH", identity, 0x8580 | _OK, 1, count, 0, 0) + question + body


def _read_name(packet: bytes, at: int) -> tuple[str, int]:
    labels = []
    while packet[at]:
        length = packet[at]
        labels.append(packet[at + 1 : at + 1 + length].decode("ascii", "replace"))
        at += 1 + length
    return ".".join(labels), at + 1


def _name(name: str) -> bytes:
    return b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"


def _record(owner: str, kind: int, data: bytes) -> bytes:
    return _name(owner) + struct.pack("!HHIH", kind, 1, _TTL_S, len(data)) + data


def _follow(url: str, store: dict[tuple[str, str], dict[str, Any]], context: SSLContext) -> None:
    """List, then watch, for ever. Any trouble means: start over; what is known stays served meanwhile."""
    while True:
        try:
            with urllib.request.urlopen(url, context=context, timeout=20) as response:
                listed = json.load(response)
            fresh = {_key(item): item for item in listed["items"]}
            for key in store.keys() - fresh.keys():
                store.pop(key, None)
            store.update(fresh)
            version = listed["metadata"]["resourceVersion"]
            watch = f"{url}?watch=1&resourceVersion={version}&timeoutSeconds=600"
            with urllib.request.urlopen(watch, context=context, timeout=700) as stream:
                for line in stream:
                    event = json.loads(line)
                    if event["type"] == "ERROR":
                        break
                    if event["type"] == "DELETED":
                        store.pop(_key(event["object"]), None)
                    else:
                        store[_key(event["object"])] = event["object"]
        except (OSError, ValueError, KeyError) as trouble:
            print(f"watch of {url} broke: {trouble}", file=sys.stderr, flush=True)
            time.sleep(0.5)


def _key(item: dict[str, Any]) -> tuple[str, str]:
    return item["metadata"]["namespace"], item["metadata"]["name"]


def serve() -> None:
    context = create_default_context(cafile=str(PKI / "ca.crt"))
    context.load_cert_chain(str(PKI / "dns.crt"), str(PKI / "dns.key"))
    records = Records()
    for path, store in (
        ("/api/v1/services", records.services),
        ("/apis/discovery.k8s.io/v1/endpointslices", records.slices),
    ):
        threading.Thread(target=_follow, args=(API_URL + path, store, context), daemon=True).start()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind((DNS_IP, 53))
        while True:
            query, client = udp.recvfrom(4096)
            try:
                udp.sendto(answer(query, records), client)
            except (IndexError, struct.error):
                continue  # Not a DNS question.


if __name__ == "__main__":
    serve()
