"""What the DaemonSet tells the agent by its environment. Parsed once at the process edge."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

Policy = Literal["static", "open", "closed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The agent's settings; every field has an environment variable of its name."""

    node: str
    pod_ip: str
    base: Path
    kubelet: Path
    library: Path
    tls: Path
    port: int
    settings_namespace: str
    mps_path: str
    """Folders to find nvidia-cuda-mps-control in; empty for where a container runtime mounts it."""
    policy_expired: Policy
    pinned_spare_mib: int
    """Where not 0: MPS's pinned limit holds a process to its slice's memory and so much for its contexts."""

    @classmethod
    def parse(cls, environment: Mapping[str, str]) -> Options:
        """ValueError with name and value where something is missing or wrong."""
        policy = environment.get("HASGPU_POLICY_EXPIRED", "static")
        if policy not in ("static", "open", "closed"):
            raise ValueError(f"HASGPU_POLICY_EXPIRED must be static, open or closed, was: {policy!r}")
        return cls(
            node=_required(environment, "NODE_NAME"),
            pod_ip=_required(environment, "POD_IP"),
            base=Path(environment.get("HASGPU_BASE", "/run/hasgpu")),
            kubelet=Path(environment.get("KUBELET_ROOT", "/var/lib/kubelet")),
            library=Path(environment.get("HASGPU_LIBRARY", "/opt/hasgpu/lib")),
            tls=Path(environment.get("HASGPU_TLS", "/etc/hasgpu/tls")),
            port=_number(environment, "HASGPU_PORT", 9401, 1, 65535),
            mps_path=environment.get("HASGPU_MPS_PATH", ""),
            settings_namespace=environment.get("HASGPU_SETTINGS_NAMESPACE", "knative-serving"),
            pinned_spare_mib=_number(environment, "HASGPU_PINNED_SPARE_MIB", 0, 0, 1 << 20),
            policy_expired=cast("Policy", policy),  # checked above
        )


def _required(environment: Mapping[str, str], name: str) -> str:
    value = environment.get(name, "")
    if not value:
        raise ValueError(f"{name} must be set")
    return value


def _number(environment: Mapping[str, str], name: str, default: int, low: int, high: int) -> int:
    text = environment.get(name, str(default))
    if not text.isdigit() or not low <= int(text) <= high:
        raise ValueError(f"{name} must be {low}..{high}, was: {text!r}")
    return int(text)
