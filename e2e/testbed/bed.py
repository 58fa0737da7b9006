"""The bed as a whole: built, up, down, and what is left. It may not know the details of any part."""

from __future__ import annotations

import json
import os
import shutil
import socket
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from e2e.testbed import containerd, controlplane, debian, gpus, host, knative, node, pki, process, toolchain, workshop
from e2e.testbed.addresses import DNS_IP, INGRESS_URL, NODE_IP, NODE_NAME
from e2e.testbed.image import Image, archive
from e2e.testbed.kubectl import apply, kubectl, wait
from e2e.testbed.paths import (
    AGENT_STATE,
    BED,
    CONTAINERD_ROOT,
    EMULATED_GPU_STATE,
    KUBECONFIG,
    KUBELET_ROOT,
    LOGS,
    MANIFESTS,
    ROOT,
    RUN,
    STATE,
)
from e2e.testbed.recipes import PRODUCT, SYSTEM, Recipe
from e2e.testbed.shell import CommandError

PROGRAMS = (
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "containerd",
    "kubelet",
    "kube-proxy",
    "dns",
)

DEPLOYMENTS = {
    "knative-serving": ("controller", "webhook", "activator", "net-kourier-controller"),
    "kourier-system": ("3scale-kourier-gateway",),
}
"""What must serve before a ksvc can be made. Deployment `autoscaler` is left out: it may be a replacement's."""

_INSTALLED = STATE / "knative-installed"

_PLACES = (
    KUBELET_ROOT,
    EMULATED_GPU_STATE,
    AGENT_STATE,
    Path("/run/containerd/runc/k8s.io"),
    Path("/var/lib/cni/results"),
    Path("/var/log/containers"),
    Path("/usr/libexec/kubernetes"),
)
"""Fixed places of kubelet, containerd and CNI plug-ins."""

_RUNTIME_CLASS = """\
apiVersion: node.k8s.io/v1
kind: RuntimeClass
metadata: {name: nvidia}
handler: nvidia
"""


class Clock:
    """Prints each step with the seconds since the start."""

    def __init__(self) -> None:
        self._started = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._started

    def say(self, what: str) -> None:
        print(f"{self.seconds:6.1f} s  {what}", flush=True)


def build() -> None:
    """Everything that needs only be made once: packages, programs, images and their import."""
    debian.install_packages()
    toolchain.build()
    gpus.build()
    images = [recipe.make() for recipe in SYSTEM]
    _claim()
    containerd.preload(images)


def build_products() -> dict[str, str]:
    """This project's own images, imported where no cluster runs; what could not be made, and why."""
    images, refused = make_images(PRODUCT)
    containerd.preload(images)
    if not refused:
        workshop.store.prune([*images, *(recipe.make() for recipe in SYSTEM)])
    return refused


def make_images(recipes: tuple[Recipe, ...], only: tuple[str, ...] = ()) -> tuple[list[Image], dict[str, str]]:
    """The images that can be made, and why the others cannot."""
    made, refused = [], {}
    for recipe in recipes:
        if only and recipe.name not in only:
            continue
        try:
            made.append(recipe.make())
        except CommandError as trouble:
            refused[recipe.name] = str(trouble)
    return made, refused


def up(gpu_count: int = gpus.COUNT) -> None:
    """From built to a cluster that serves ksvcs. Called again, it starts what is missing and changes nothing else."""
    if os.geteuid() != 0:
        raise CommandError("the test bed makes containers and network devices: run it as root")
    build()
    clock = Clock()
    if not any(process.running(name) for name in PROGRAMS):
        _clear_remains(clock)
    _refuse_foreign_ports()
    host.prepare()
    gpus.create(gpu_count)
    pki.make()
    controlplane.start_etcd()
    controlplane.start_apiserver()
    with ThreadPoolExecutor() as pool:
        loading = pool.submit(_load_system_images, clock)
        rendering = pool.submit(knative.render)
        controlplane.wait_ready()
        clock.say("API server ready")
        controlplane.start_controllers()
        process.start("dns", [sys.executable, "-m", "e2e.testbed.dns"], environment={"PYTHONPATH": str(ROOT)})
        installing = pool.submit(_install_knative, rendering.result(), clock)
        loading.result()
        node.start()
        installing.result()
        waiting = [
            pool.submit(wait, "--for=condition=Available", "-n", namespace, f"deployment/{name}")
            for namespace, names in DEPLOYMENTS.items()
            for name in names
        ]
        for available in waiting:
            available.result()
    clock.say(f"test bed up: ingress {INGRESS_URL}, DNS {DNS_IP}, node {NODE_NAME} ({NODE_IP})")
    print(f"\nexport KUBECONFIG={KUBECONFIG} PATH={BED}/bin:$PATH   # then: kubectl, kn", flush=True)


def _claim() -> None:
    """RUN says that kubelet folders and pod cgroups here are the bed's; without it they may be a real node's."""
    if RUN.exists():
        if others := process.owners() - {str(BED)}:
            raise CommandError(f"the bed of {min(others)} runs on this machine: bring it down first")
        return
    foreign = [*host.cgroups(), *(KUBELET_ROOT.iterdir() if KUBELET_ROOT.exists() else ())]
    if foreign:
        raise CommandError(f"this machine seems to be a node of another cluster: {foreign[0]} exists")
    RUN.mkdir(mode=0o711, parents=True)


def _clear_remains(clock: Clock) -> None:
    """A bed that was killed left parts behind; the new one starts from nothing."""
    if left := remains():
        clock.say(f"clearing what an earlier bed left: {len(left)} things")
        sweep()
    RUN.mkdir(mode=0o711, parents=True, exist_ok=True)
    shutil.rmtree(STATE, ignore_errors=True)
    STATE.mkdir(parents=True)


def _load_system_images(clock: Clock) -> None:
    containerd.start()
    loaded = containerd.load([recipe.make() for recipe in SYSTEM])
    clock.say(f"containerd ready, {len(loaded)} images imported")


def _install_knative(steps: list[list[Path]], clock: Clock) -> None:
    if _INSTALLED.exists():
        return
    (MANIFESTS / "runtime-class.yaml").write_text(_RUNTIME_CLASS)
    for number, files in enumerate(steps):
        apply([*files, MANIFESTS / "runtime-class.yaml"] if number == 0 else files)
        if number == 0:
            wait("--for=condition=Established", "customresourcedefinitions", "--all")
    # As a cloud's load balancer would: kube-proxy then serves this address on port 80.
    status = json.dumps({"status": {"loadBalancer": {"ingress": [{"ip": NODE_IP}]}}})
    patch = ("patch", "service", "kourier", "--subresource=status", "--type=merge", "-p", status)
    kubectl("-n", "kourier-system", *patch)
    _INSTALLED.touch()
    clock.say("Knative and Kourier applied")


def _refuse_foreign_ports() -> None:
    for name, port in (("etcd", 2379), ("kube-apiserver", 6443)):
        with socket.socket() as probe:
            if not process.running(name) and probe.connect_ex(("127.0.0.1", port)) == 0:
                raise CommandError(f"port {port} is taken by a program that is not the bed's {name}")


def load_product_images(only: tuple[str, ...] = ()) -> dict[str, str]:
    """Build this project's images and import what changed; what could not be made, and why."""
    clock = Clock()
    images, refused = make_images(PRODUCT, only)
    clock.say(f"{len(images)} images made")
    loaded = containerd.load(images)
    clock.say(f"imported: {', '.join(loaded) or 'nothing new'}")
    return refused


def export_product_images(folder: Path, only: tuple[str, ...] = ()) -> dict[str, str]:
    """One OCI archive for each of this project's images, for other clusters; what could not be made, and why."""
    clock = Clock()
    debian.install_packages()
    images, refused = make_images(PRODUCT, only)
    folder.mkdir(parents=True, exist_ok=True)
    for image in images:
        path = folder / f"{image.name.rpartition('/')[2].partition(':')[0]}.tar"
        with path.open("wb") as out:
            archive([image], out)
        clock.say(f"written: {path}")
    return refused


def down() -> list[str]:
    """Remove the bed from this machine; what could not be removed."""
    clock = Clock()
    sweep()
    left = remains()
    clock.say("test bed down" if not left else f"{len(left)} things are left")
    return left


def sweep() -> None:
    """Pods' processes first, since containerd's death would orphan them; then what they stood on."""
    if not RUN.exists():
        return
    process.kill(process.marked())
    process.kill(process.inside_cgroups("kubepods"))
    host.remove_mounts()
    host.remove_network()
    host.remove_cgroups()
    host.restore_kernel()
    KUBECONFIG.unlink(missing_ok=True)
    if not host.mounts():  # Never delete through a mount: it may show a folder of the host.
        for place in (*_PLACES, LOGS / "pods", STATE, RUN):
            shutil.rmtree(place, ignore_errors=True)


def remains() -> list[str]:
    """Everything of the bed that this machine still carries, in words."""
    checks: dict[str, Callable[[], list[object]]] = {
        "process": lambda: [*process.marked(), *process.inside_cgroups("kubepods")],
        "mount": lambda: [*host.mounts()],
        "network namespace": lambda: [*host.namespaces()],
        "link": lambda: [*host.links()],
        "nftables table": lambda: [*host.tables()],
        "cgroup": lambda: [*host.cgroups()],
    }
    return [f"{kind} {item}" for kind, check in checks.items() for item in check()]


def status() -> dict[str, bool]:
    """Each program of the bed, and whether it runs."""
    return {name: process.running(name) for name in PROGRAMS}


def forget() -> None:
    """Drop what `down` keeps of containerd, so that the next start imports every image anew."""
    shutil.rmtree(CONTAINERD_ROOT, ignore_errors=True)
