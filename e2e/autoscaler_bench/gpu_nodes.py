"""GPU nodes of the bench: Node and GPU objects, and an agent each that says of every pod that its slice is laid.

The agents' port is the real one's, mutual TLS and long poll; what is behind it is only what the pods' annotations say.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from hasgpu.cluster.objects import Pod
from hasgpu.cluster.patch import merge_patch
from hasgpu.cluster.paths import GPUS, NODES, PODS, collection, named
from hasgpu.cluster.reflector import EventKind, Reflector
from hasgpu.cluster.session import Session
from hasgpu.model.ledger import parse_slice
from hasgpu.model.report import NodeReport, PodSliceReport
from hasgpu.nodeagent.api import Api, Certificates
from hasgpu_webhook.authority import LeafRequest, renewed_authority, renewed_leaf

PRODUCT = "Emulated-V100"
GPUS_OF_A_NODE = 8


class Agent:
    """One node's: reports whatever pods of the node the API server shows."""

    def __init__(self, node: str, certificates: Path) -> None:
        self._node = node
        self._changed = threading.Condition()
        self._pods: dict[str, Pod] = {}
        self._revision = 1
        self._api = Api(0, Certificates(certificates), self._newer, lambda: "", lambda: True)
        self._api.start()

    @property
    def address(self) -> str:
        """Where it is polled."""
        return f"127.0.0.1:{self._api.port}"

    def stop(self) -> None:
        """Answers no more."""
        self._api.stop()

    def see(self, uid: str, pod: Pod | None) -> None:
        """A pod as it is now: its slice is laid at once."""
        with self._changed:
            if pod is None:
                self._pods.pop(uid, None)
            else:
                self._pods[uid] = pod
            self._revision += 1
            self._changed.notify_all()

    def _newer(self, after: int, timeout_s: float) -> NodeReport:
        with self._changed:
            self._changed.wait_for(lambda: self._revision != after, timeout_s)
            pods = tuple(report for pod in self._pods.values() if (report := _report(pod)) is not None)
            return NodeReport(node=self._node, revision=self._revision, pods=pods)


class GpuNodes:
    """Enough nodes for so many GPUs; ``gpu`` numbers them through."""

    def __init__(self, session: Session, gpus: int, folder: Path) -> None:
        agent_tls = make_certificates(folder)
        count = (gpus - 1) // GPUS_OF_A_NODE + 1
        self._agents = {f"gpu-node-{number}": Agent(f"gpu-node-{number}", agent_tls) for number in range(count)}
        for name, agent in self._agents.items():
            _make_node(session, name)
            for number in range(gpus):
                if self.node_of(number) == name:
                    _make_gpu(session, number, name, agent.address)
        self._watch = Reflector(session, collection(PODS), Pod, on_event=self._see).start()

    @staticmethod
    def node_of(gpu: int) -> str:
        """The node a GPU is in."""
        return f"gpu-node-{gpu // GPUS_OF_A_NODE}"

    def stop(self) -> None:
        """Ends all agents."""
        self._watch.stop()
        for agent in self._agents.values():
            agent.stop()

    def _see(self, kind: EventKind, old: Pod | None, new: Pod | None) -> None:
        pod = new or old
        agent = self._agents.get(pod.spec.node_name) if pod is not None else None
        if pod is not None and agent is not None:
            agent.see(pod.metadata.uid, new)


def _report(pod: Pod) -> PodSliceReport | None:
    """No kernel is counted: nothing can be learnt, so the profile stays what it is."""
    entry = parse_slice(pod.metadata.annotations)
    if entry is None:
        return None
    return PodSliceReport(
        pod_uid=pod.metadata.uid,
        namespace=pod.metadata.namespace,
        name=pod.metadata.name,
        gpu_uuid=entry.gpu_uuid,
        generation=entry.generation,
        quota_percent=entry.time_quota.percent,
        processes=1,
        busy_ns=0,
        gated_ns=0,
        debt_ns=0,
        launches=0,
        waiting=0,
        memory_bytes=entry.memory_bytes,
        sm_count=16,
        alive=True,
        row=entry.row,
        sm_percent=entry.sm_partition.percent,
    )


def uuid_of(gpu: int) -> str:
    """The UUID of a GPU by its number."""
    return f"GPU-{gpu:08d}"


def make_certificates(folder: Path) -> Path:
    """An authority's leaves for agents and autoscaler, as the webhook makes them; the agents' folder."""
    now = datetime.now(UTC)
    authority = renewed_authority({}, now)
    leaves = {
        "agent": LeafRequest(common_name="hasgpu-agent", dns_names=("hasgpu-agent",)),
        "autoscaler": LeafRequest(common_name="hasgpu-autoscaler", dns_names=("hasgpu-autoscaler",), client=True),
    }
    for name, leaf in leaves.items():
        (folder / name).mkdir(parents=True)
        for file, content in renewed_leaf({}, authority, leaf, now).items():
            (folder / name / file).write_bytes(content)
    return folder / "agent"


def _true(*kinds: str) -> Iterable[dict[str, str]]:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return [{"type": kind, "status": "True", "reason": "Bench", "lastTransitionTime": now} for kind in kinds]


def _make_node(session: Session, name: str) -> None:
    labels = {"kubernetes.io/hostname": name, "hasgpu.dev/enabled": "true"}
    session.request("POST", collection(NODES), body={"metadata": {"name": name, "labels": labels}})
    merge_patch(session, named(NODES, "", name, "status"), {"status": {"conditions": _true("Ready")}})


def _make_gpu(session: Session, number: int, node: str, agent_address: str) -> None:
    spec = {"node": node, "uuid": uuid_of(number), "product": PRODUCT, "memory": "32Gi", "smCount": 80, "smStep": 2}
    name = uuid_of(number).lower()
    body = {"apiVersion": "hasgpu.dev/v1alpha1", "kind": "GPU", "metadata": {"name": name}, "spec": spec}
    session.request("POST", collection(GPUS), body=body)
    status = {"conditions": _true("Healthy", "MPSReady"), "agentAddress": agent_address}
    merge_patch(session, named(GPUS, "", name, "status"), {"status": status})
