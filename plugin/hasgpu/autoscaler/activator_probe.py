"""Process autoscaler: asks through a revision's public Service whether an activator answers. One request, no state.

A new connection each time: a kept one would go on reaching the endpoint it was made to.
"""

from __future__ import annotations

import http.client
import os
from pathlib import Path

_TIMEOUT_S = 2.0
_HEADERS = {"User-Agent": "Knative-Autoscaling-Probe", "K-Network-Probe": "activator", "Connection": "close"}


def probe_port(protocol: str) -> int:
    """The port of the public Service for a revision's protocol."""
    return 81 if protocol == "h2c" else 80


def activator_answers(host: str, port: int) -> bool:
    """True where requests to the revision's public Service end at an activator; any doubt is no."""
    connection = http.client.HTTPConnection(host, port, timeout=_TIMEOUT_S)
    try:
        connection.request("GET", "/healthz", headers=_HEADERS)
        answer = connection.getresponse()
        return answer.status == 200 and answer.read(64) == b"activator"
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def cluster_domain(resolv_conf: Path = Path("/etc/resolv.conf")) -> str:
    """As Knative finds it: the environment, the resolver's search list, else the usual."""
    named = os.environ.get("CLUSTER_DOMAIN")
    if named:
        return named
    try:
        lines = resolv_conf.read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        words = line.split()
        for word in words[1:] if words[:1] == ["search"] else ():
            if word.startswith("svc."):
                return word.removeprefix("svc.").rstrip(".")
    return "cluster.local"
