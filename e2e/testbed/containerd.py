"""containerd on a socket of the bed's own, with a handler for emulated GPUs; the images it holds.

It may not know Kubernetes.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from e2e.testbed import process
from e2e.testbed.addresses import POD_BRIDGE, POD_NETWORK
from e2e.testbed.image import Image, archive
from e2e.testbed.paths import CONFIG, CONTAINERD_ROOT, CONTAINERD_SOCKET, EMULATED_GPU, RUN, STATE
from e2e.testbed.shell import CommandError, run, succeeds

_CTR = ("ctr", "--address", str(CONTAINERD_SOCKET), "--namespace", "k8s.io")
_CNI = CONFIG / "cni"

_CONFIG = f"""\
version = 2
root = "{CONTAINERD_ROOT}"
state = "{RUN}/containerd"
%(disabled)s
[grpc]
  address = "{CONTAINERD_SOCKET}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "hasgpu.local/pause:1"
  # Root may lack CAP_SYS_RESOURCE, and runc then fails to lower a sandbox's oom_score_adj with a useless message.
  restrict_oom_score_adj = true
  disable_apparmor = true
  disable_hugetlb_controller = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{_CNI}"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.nvidia]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.nvidia.options]
        BinaryName = "{EMULATED_GPU}/build/nvidia-runc"
        SystemdCgroup = false
"""


def start() -> None:
    """Start containerd; what an earlier cluster left in its books is cleared first."""
    if process.running("containerd"):
        return
    CONFIG.mkdir(parents=True, exist_ok=True)
    _write_cni()
    if CONTAINERD_ROOT.exists():
        with _without_pods():
            _clear()
    _serve("containerd", disabled="")


def preload(images: Sequence[Image]) -> None:
    """Import images while no cluster runs, so that starting one need not."""
    note = CONTAINERD_ROOT / "preloaded"
    known = set(note.read_text().split()) if note.exists() else set()
    wanted = {image.manifest.digest for image in images}
    if process.running("containerd") or wanted <= known:
        return
    with _without_pods():
        load(images)
    note.write_text("\n".join(sorted(wanted | known)))


@contextmanager
def _without_pods() -> Iterator[None]:
    """containerd without the CRI plug-in, which would take every container in the books for a pod of its own."""
    CONFIG.mkdir(parents=True, exist_ok=True)
    _serve("containerd-alone", disabled='disabled_plugins = ["io.containerd.grpc.v1.cri"]')
    try:
        yield
    finally:
        process.stop("containerd-alone")


def _serve(name: str, *, disabled: str) -> None:
    config = CONFIG / f"{name}.toml"
    config.write_text(_CONFIG % {"disabled": disabled})
    process.start(name, ["containerd", "--config", str(config)])
    deadline = time.monotonic() + 20
    while not succeeds([*_CTR, "version"]):
        if time.monotonic() > deadline or not process.running(name):
            raise CommandError(f"{name} does not answer on {CONTAINERD_SOCKET}")
        time.sleep(0.05)


def _clear() -> None:
    """Forget containers of a cluster that is gone."""
    for container in run(*_CTR, "containers", "list", "--quiet").split():
        run(*_CTR, "containers", "delete", container, check=False)
    shutil.rmtree(CONTAINERD_ROOT / "io.containerd.grpc.v1.cri", ignore_errors=True)


def _write_cni() -> None:
    _CNI.mkdir(parents=True, exist_ok=True)
    bridge = {
        "type": "bridge",
        "bridge": POD_BRIDGE,
        "isGateway": True,
        "hairpinMode": True,
        # Nothing leaves the machine, so nothing needs an address of its own outside.
        "ipMasq": False,
        "ipam": {"type": "host-local", "ranges": [[{"subnet": POD_NETWORK}]], "dataDir": str(STATE / "cni"),
                 "routes": [{"dst": "0.0.0.0/0"}]},
    }  # fmt: skip
    ports = {"type": "portmap", "capabilities": {"portMappings": True}}
    document = {"cniVersion": "0.4.0", "name": "hasgpu-testbed", "plugins": [bridge, ports]}
    (_CNI / "10-hasgpu.conflist").write_text(json.dumps(document, indent=2))


def held() -> dict[str, str]:
    """Image names with the digests containerd has for them."""
    found = {}
    for line in run(*_CTR, "images", "list").splitlines()[1:]:
        name, _kind, digest, *_ = line.split()
        found[name] = digest
    return found


def load(images: Sequence[Image]) -> list[str]:
    """Import the images that containerd lacks or has in another version; their names."""
    present = held()
    wanted = [image for image in images if present.get(image.name) != image.manifest.digest]
    if wanted:
        try:
            _import(wanted, without=set(run(*_CTR, "content", "list", "--quiet").split()))
        except CommandError:
            # containerd collects unused content at any time, also between the list and the import.
            _import(wanted, without=set())
    return [image.name for image in wanted]


def _import(images: list[Image], without: set[str]) -> None:
    with subprocess.Popen(
        [*_CTR, "images", "import", "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as importer:
        assert importer.stdin is not None
        archive(images, importer.stdin, without=without)
        importer.stdin.close()
        said = importer.stdout.read().decode() if importer.stdout else ""
    if importer.returncode != 0:
        raise CommandError(f"ctr images import ended with {importer.returncode}: {said[-2000:]}")
