"""Where the bed keeps its files. It may not create or read any of them."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""The checkout."""

BED = ROOT / ".testbed"
"""Everything that survives `testbed-down`: binaries, images and caches. Git ignores it."""

BIN = BED / "bin"
CACHE = BED / "cache"
IMAGES = BED / "images"
LOGS = BED / "logs"
STATE = BED / "state"
"""Everything that `testbed-down` removes: cluster data, certificates, rendered manifests, pid files."""

PKI = STATE / "pki"
PIDS = STATE / "pids"
MANIFESTS = STATE / "manifests"
CONFIG = STATE / "config"
KUBECONFIG = BED / "kubeconfig"

CONTAINERD_ROOT = BED / "containerd"
"""containerd's content and snapshots: kept, so that the next start imports only what changed."""

RUN = Path("/run/hasgpu-testbed")
"""Sockets and live mounts: a short path, since a unix socket's name has at most 107 bytes."""

CONTAINERD_SOCKET = RUN / "containerd.sock"
KUBELET_ROOT = Path("/var/lib/kubelet")
"""The customary place, so that manifests made for any cluster fit this one."""

EMULATED_GPU = ROOT / "e2e" / "emulated_gpu"
EMULATED_GPU_STATE = Path("/run/hasgpu-emulated")
AGENT_STATE = Path("/run/hasgpu")
"""The node agent's folder. The bed only mounts it shared, as /run is on a machine that systemd started."""

GO_GROUPS = Path(__file__).resolve().parent / "go"
CONSTRAINTS = Path(__file__).resolve().parent / "constraints.txt"
