"""A node without Kubernetes: the node agent as a process, an API server's double, one emulated GPU, its pods.

The agent is the released one, with its own pages, NVML and certificates; only who asks it to mount is missing, so the
pods' folders are laid as its CSI driver lays them.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import trustme
from hasgpu.device.pages import PodPage
from hasgpu.model.annotations import SLICE_GENERATION, SLICE_TIME_QUOTA
from hasgpu.model.gpu import GpuSlice
from hasgpu.model.ledger import slice_annotations
from hasgpu.model.units import SmPartition, TimeQuota

from tests.cluster.fake_api import FakeApi

from .bench import DOUBLE, SHIM, Bench

NODE = "node1"
PODS = "/api/v1/namespaces/default/pods"


class Node(Bench):
    """A bench whose schedule page is the agent's."""

    def __init__(self) -> None:
        super().__init__(ahead=True)
        self.api = FakeApi()
        self.base = self.folder / "run"
        self._session = self.api.session()
        for name in ("lib", "tls", "kubelet/plugins_registry"):
            (self.folder / name).mkdir(parents=True)
        shutil.copy(SHIM, self.folder / "lib")
        authority = trustme.CA()
        issued = authority.issue_cert("localhost")
        issued.private_key_pem.write_to_path(self.folder / "tls" / "tls.key")
        (self.folder / "tls" / "tls.crt").write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        authority.cert_pem.write_to_path(self.folder / "tls" / "ca.crt")
        (self.folder / "kubeconfig").write_text(json.dumps(_kubeconfig(self.api.url)))

    def start_agent(self, **extra: str) -> subprocess.Popen[str]:
        """The agent; its table of this GPU is laid once it has read the pods."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        told = os.environ | self.environment
        told |= {"KUBECONFIG": str(self.folder / "kubeconfig"), "NODE_NAME": NODE, "POD_IP": "127.0.0.1"}
        told |= {"HASGPU_BASE": str(self.base), "KUBELET_ROOT": str(self.folder / "kubelet"), "HASGPU_PORT": str(port)}
        told |= {"HASGPU_LIBRARY": str(self.folder / "lib"), "HASGPU_TLS": str(self.folder / "tls")}
        told |= {"LD_LIBRARY_PATH": str(DOUBLE), "HASGPU_MPS_PATH": str(DOUBLE)}
        told |= extra
        with (self.folder / "agent.log").open("a") as log:
            agent = subprocess.Popen([sys.executable, "-m", "hasgpu.nodeagent"], env=told, stderr=log, text=True)
        self.children.append(agent)
        return agent

    def place(self, uid: str, row: int, quota: int) -> None:
        """A pod with its slice, as the allocator writes it, and its folders."""
        entry = GpuSlice(
            gpu_uuid=self.log.uuid,
            row=row,
            sm_partition=SmPartition(40),
            time_quota=TimeQuota(quota),
            memory_bytes=1 << 30,
            generation=1,
        )
        metadata = {"name": uid, "namespace": "default", "uid": uid, "annotations": slice_annotations(entry)}
        self.api.create(PODS, {"metadata": metadata, "spec": {"nodeName": NODE}, "status": {"phase": "Running"}})
        folder = self.base / "pods" / uid
        (folder / "volumes").mkdir(parents=True)
        (folder / "page").mkdir()
        (folder / "owner").write_text(f"default/{uid}")
        (folder / "volumes" / "page").write_text(str(folder))
        PodPage.create(str(self.page_of(uid)))

    def run_client(self, uid: str, **extra: str) -> subprocess.Popen[str]:
        """A client of the pod that always wants more."""
        return self.run(uid, "async", 500, 600, HASGPU_SCHEDULE_FILE=str(self.schedule_page), **extra)

    def patch(self, uid: str, quota: int, generation: int) -> None:
        """The allocator's patch, by HTTP."""
        annotations = {SLICE_TIME_QUOTA: str(quota), SLICE_GENERATION: str(generation)}
        body = {"metadata": {"annotations": annotations}}
        self._session.request("PATCH", f"{PODS}/{uid}", body=body, content_type="application/merge-patch+json")

    def page_of(self, uid: str) -> Path:
        return self.base / "pods" / uid / "page" / "page.v1"

    @property
    def schedule_page(self) -> Path:
        """The agent's."""
        return self.base / "gpus" / self.log.uuid / "schedule" / "schedule.v1"

    def close(self) -> None:
        self.api.close()
        super().close()


def _kubeconfig(url: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "bench", "cluster": {"server": url}}],
        "users": [{"name": "bench", "user": {}}],
        "contexts": [{"name": "bench", "context": {"cluster": "bench", "user": "bench"}}],
        "current-context": "bench",
    }
