"""The host itself: bridge, routes, kernel settings and mounts the cluster stands on, and their removal.

It may not know the cluster's programs.
"""

from __future__ import annotations

import json
from pathlib import Path

from e2e.testbed.addresses import (
    NODE_BRIDGE,
    NODE_IP,
    NODE_PREFIX,
    POD_BRIDGE,
    POD_RANGE,
    SERVICE_RANGE,
)
from e2e.testbed.paths import AGENT_STATE, BED, EMULATED_GPU_STATE, KUBELET_ROOT, RUN, STATE
from e2e.testbed.shell import run, succeeds

_SETTINGS = {
    "net/ipv4/ip_forward": "1",
    "net/bridge/bridge-nf-call-iptables": "1",
    "fs/inotify/max_user_instances": "8192",
}
_SAVED = BED / "kernel-settings.json"


def prepare() -> None:
    """Idempotent: what is there already stays as it is."""
    _set_kernel()
    if not Path(f"/sys/class/net/{NODE_BRIDGE}").exists():
        run("ip", "link", "add", NODE_BRIDGE, "type", "bridge")
        run("ip", "address", "add", NODE_PREFIX, "dev", NODE_BRIDGE)
        run("ip", "link", "set", NODE_BRIDGE, "up")
    # A ClusterIP packet sent before kube-proxy has its rules must not leave by the default route.
    run("ip", "route", "replace", SERVICE_RANGE, "dev", NODE_BRIDGE, "src", NODE_IP)
    run("ip", "route", "replace", "unreachable", POD_RANGE)
    RUN.mkdir(mode=0o711, parents=True, exist_ok=True)
    if not is_mount(KUBELET_ROOT):
        folder = STATE / "kubelet"
        folder.mkdir(parents=True, exist_ok=True)
        KUBELET_ROOT.mkdir(parents=True, exist_ok=True)
        run("mount", "--bind", str(folder), str(KUBELET_ROOT))
    # `/` is private here: only a mount of its own can be shared, and CSI drivers in pods need it shared.
    run("mount", "--make-rshared", str(KUBELET_ROOT))
    for folder in (EMULATED_GPU_STATE, AGENT_STATE):
        if not is_mount(folder):
            folder.mkdir(parents=True, exist_ok=True)
            run("mount", "-t", "tmpfs", "-o", "mode=0755", folder.name, str(folder))
        run("mount", "--make-rshared", str(folder))


def restore_kernel() -> None:
    """Put the kernel settings back to what the first start found."""
    if _SAVED.exists():
        for name, value in json.loads(_SAVED.read_text()).items():
            Path("/proc/sys", name).write_text(value)
        _SAVED.unlink()


def _set_kernel() -> None:
    found = {}
    for name, wanted in _SETTINGS.items():
        file = Path("/proc/sys", name)
        if not file.exists():
            continue
        value = file.read_text().strip()
        if value != wanted and not (value.isdigit() and int(value) > int(wanted)):
            found[name] = value
            file.write_text(wanted)
    if found and not _SAVED.exists():
        _SAVED.write_text(json.dumps(found))


def mounts() -> list[str]:
    """Mount points of the bed, innermost first."""
    folders = (STATE, RUN, KUBELET_ROOT, EMULATED_GPU_STATE, AGENT_STATE, "/run/netns/cni-")
    roots = tuple(str(folder) for folder in folders)
    points = [line.split()[1].replace("\\040", " ") for line in Path("/proc/mounts").read_text().splitlines()]
    return [point for point in reversed(points) if _is_below(point, roots)]


def is_mount(path: Path) -> bool:
    return any(line.split()[1] == str(path) for line in Path("/proc/mounts").read_text().splitlines())


def links() -> list[str]:
    """Bridges of the bed and the pods' virtual cables plugged into them, cables first."""
    found = []
    for bridge in (POD_BRIDGE, NODE_BRIDGE):
        ports = Path(f"/sys/class/net/{bridge}/brif")
        found += sorted(port.name for port in ports.iterdir()) if ports.exists() else []
        found += [bridge] if Path(f"/sys/class/net/{bridge}").exists() else []
    return found


def namespaces() -> list[str]:
    """Network namespaces of pods, by file."""
    folder = Path("/run/netns")
    return sorted(str(file) for file in folder.glob("cni-*")) if folder.exists() else []


def tables() -> list[tuple[str, str]]:
    """nftables tables that kube-proxy and the CNI plug-ins made, as (family, name)."""
    listed = json.loads(run("nft", "-j", "list", "tables", check=False) or '{"nftables": []}')
    present = [(entry["table"]["family"], entry["table"]["name"]) for entry in listed["nftables"] if "table" in entry]
    return [table for table in present if table[1] == "kube-proxy" or _is_left_by_cni(table)]


def _is_left_by_cni(table: tuple[str, str]) -> bool:
    """The compat tables of iptables count as the bed's when nobody else has a rule or chain of his own there."""
    family, name = table
    if family not in ("ip", "ip6") or name not in ("nat", "filter", "mangle"):
        return False
    listing = json.loads(run("nft", "-j", "list", "table", family, name, check=False) or '{"nftables": []}')
    chains = [entry["chain"] for entry in listing["nftables"] if "chain" in entry]
    rules = [entry["rule"] for entry in listing["nftables"] if "rule" in entry]
    foreign_chain = any("hook" not in chain and not _is_ours(chain["name"]) for chain in chains)
    foreign_rule = any(not _is_ours(rule["chain"]) and not _jumps_to_ours(rule) for rule in rules)
    return not foreign_chain and not foreign_rule


def _is_ours(chain: str) -> bool:
    return chain.startswith(("CNI-", "KUBE-"))


def _jumps_to_ours(rule: dict[str, object]) -> bool:
    return '"target": "CNI-' in json.dumps(rule) or '"target": "KUBE-' in json.dumps(rule)


def cgroups() -> list[Path]:
    """Pod cgroups in every hierarchy, deepest first."""
    tops = [*Path("/sys/fs/cgroup").glob("kubepods"), *Path("/sys/fs/cgroup").glob("*/kubepods")]
    found = [folder for top in tops for folder in (top, *(path for path in top.rglob("*") if path.is_dir()))]
    return sorted(found, key=lambda folder: len(folder.parts), reverse=True)


def remove_mounts() -> None:
    """A namespace is mounted twice where /run/netns is shared with itself: hence the repetition."""
    for _ in range(3):
        for point in mounts():
            if not succeeds(["umount", point]):
                run("umount", "--lazy", point, check=False)


def remove_network() -> None:
    for file in namespaces():
        Path(file).unlink(missing_ok=True)
    for link in links():
        run("ip", "link", "delete", link, check=False)
    run("ip", "route", "delete", "unreachable", POD_RANGE, check=False)
    for family, name in tables():
        run("nft", "delete", "table", family, name, check=False)


def remove_cgroups() -> None:
    for folder in cgroups():
        try:
            folder.rmdir()
        except OSError:
            continue


def _is_below(point: str, roots: tuple[str, ...]) -> bool:
    return any(point == root or point.startswith(root if root.endswith("-") else root + "/") for root in roots)
