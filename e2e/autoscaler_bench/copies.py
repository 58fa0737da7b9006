"""Many revisions in the steady state at once: one is brought there, the others are copied from it in etcd.

Made through the API server they would be four writes each, and as many again until an autoscaler has settled them.
"""

from __future__ import annotations

import base64
import re
import uuid
from collections.abc import Iterator
from typing import Any

import msgspec
from hasgpu.cluster.paths import DEPLOYMENTS, METRICS, POD_AUTOSCALERS, PODS, SERVERLESS_SERVICES, named
from hasgpu.cluster.session import Session

from .candidate import Candidate
from .fakes import Fakes
from .plane import ETCD_URL, Plane, own_address
from .revisions import Revisions, SksController, Watched, pod_ip

_KINDS = (
    (DEPLOYMENTS, "-deployment", "deployments"),
    (PODS, "-pod", "pods"),
    (METRICS, "", "autoscaling.internal.knative.dev/metrics"),
    (SERVERLESS_SERVICES, "", "networking.internal.knative.dev/serverlessservices"),
    (POD_AUTOSCALERS, "", "autoscaling.internal.knative.dev/podautoscalers"),
)
"""What a revision consists of: kind, end of the object's name, where etcd keeps such objects."""
_A_WRITE = 100
"""Of the 128 that etcd takes at a time."""


def copied(plane: Plane, count: int, per_namespace: int, *, pushed: bool) -> Revisions:
    """So many, all as revision 0 is once our autoscaler has settled it."""
    revisions = Revisions(plane, 1, per_namespace, pushed=pushed)
    _settle(plane, pushed)
    for index in range(1, (count - 1) // per_namespace + 1):
        plane.make_namespace(f"bench-{index}")
    etcd, originals = Session(ETCD_URL), _originals(plane.session)
    puts: list[dict[str, Any]] = []
    for index in range(1, count):
        puts += _puts(originals, index, index // per_namespace)
        if len(puts) >= _A_WRITE or index == count - 1:
            etcd.request("POST", "/v3/kv/txn", body={"success": puts})
            puts = []
    revisions.count, revisions.quiet = count, set(range(count))
    return revisions


def _settle(plane: Plane, pushed: bool) -> None:
    sks, watched = SksController(plane.session), Watched(plane.session)
    load = Fakes(1, 1, push_to=f"{own_address()}:8080" if pushed else "")
    candidate = Candidate("ours", plane)
    try:
        watched.until(1, 60, lambda: candidate.alive)
    finally:
        for each in (candidate, load, watched, sks):
            each.stop()


def _originals(session: Session) -> dict[str, str]:
    """The objects of revision 0 as JSON, by their key in etcd. The API server reads its own kinds in JSON, too."""
    found = {}
    for kind, ending, folder in _KINDS:
        name = f"r-0{ending}"
        body = session.get(named(kind, "bench-0", name), dict[str, Any])
        body["metadata"].pop("resourceVersion")
        found[f"/registry/{folder}/bench-0/{name}"] = msgspec.json.encode(body).decode()
    return found


def _puts(originals: dict[str, str], index: int, namespace: int) -> Iterator[dict[str, Any]]:
    """Another name, namespace and pod address, and UIDs of its own: also where one object names another's."""
    numbers = {"bench": namespace, "r": index, "uid": index}

    def copy(text: str) -> str:
        text = re.sub(r"\b(bench|r|uid)-0\b", lambda found: f"{found[1]}-{numbers[found[1]]}", text)
        return text.replace(f'"{pod_ip(0)}"', f'"{pod_ip(index)}"')

    texts = {copy(key): copy(text) for key, text in originals.items()}
    uids = [msgspec.json.decode(text)["metadata"]["uid"] for text in originals.values()]
    for key, text in texts.items():
        for uid in uids:
            text = text.replace(uid, str(uuid.uuid5(uuid.UUID(uid), str(index))))
        yield {"requestPut": {"key": _base64(key), "value": _base64(text)}}


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
