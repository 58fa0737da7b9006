"""The node: kubelet and kube-proxy on this host. It may not know what runs in the pods."""

from __future__ import annotations

import yaml

from e2e.testbed import process
from e2e.testbed.addresses import (
    CLUSTER_DOMAIN,
    DNS_IP,
    NODE_IP,
    NODE_NAME,
    NODE_NETWORK,
    POD_RANGE,
)
from e2e.testbed.paths import BIN, CONFIG, CONTAINERD_SOCKET, KUBELET_ROOT, LOGS, PKI, STATE

LABELS = {
    # The bed's node carries GPUs (emulated ones) and takes part, as an administrator would say of a real node.
    "hasgpu.dev/enabled": "true",
}


def kubelet_config() -> dict[str, object]:
    return {
        "kind": "KubeletConfiguration",
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": f"{PKI}/ca.crt"},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": f"{PKI}/kubelet-server.crt",
        "tlsPrivateKeyFile": f"{PKI}/kubelet-server.key",
        "containerRuntimeEndpoint": f"unix://{CONTAINERD_SOCKET}",
        "cgroupDriver": "cgroupfs",
        "cgroupsPerQOS": True,
        "enforceNodeAllocatable": [],
        # Written out: since 1.35 a kubelet refuses hosts with cgroup v1 unless told.
        "failCgroupV1": False,
        "failSwapOn": False,
        "clusterDNS": [DNS_IP],
        "clusterDomain": CLUSTER_DOMAIN,
        "resolvConf": f"{CONFIG}/resolv.conf",
        "makeIPTablesUtilChains": False,
        "serializeImagePulls": False,
        "evictionHard": {"memory.available": "50Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "podLogsDir": f"{LOGS}/pods",
        "volumePluginDir": f"{STATE}/volume-plugins",
        "containerLogMaxSize": "20Mi",
        "syncFrequency": "10s",
    }


def proxy_config() -> dict[str, object]:
    return {
        "kind": "KubeProxyConfiguration",
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "clientConnection": {"kubeconfig": f"{PKI}/proxy.kubeconfig"},
        "hostnameOverride": NODE_NAME,
        "mode": "nftables",
        "clusterCIDR": POD_RANGE,
        "nodePortAddresses": [NODE_NETWORK],
        # Zero means: leave the machine's connection tracking as it is.
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        "nftables": {"minSyncPeriod": "100ms"},
    }


def start() -> None:
    CONFIG.mkdir(parents=True, exist_ok=True)
    (LOGS / "pods").mkdir(parents=True, exist_ok=True)
    _write("resolv.conf", f"nameserver {DNS_IP}\n")
    _write("kubelet.yaml", yaml.safe_dump(kubelet_config()))
    _write("kube-proxy.yaml", yaml.safe_dump(proxy_config()))
    process.start(
        "kubelet",
        [
            f"{BIN}/kubelet",
            f"--config={CONFIG}/kubelet.yaml",
            f"--kubeconfig={PKI}/kubelet.kubeconfig",
            f"--root-dir={KUBELET_ROOT}",
            f"--hostname-override={NODE_NAME}",
            f"--node-ip={NODE_IP}",
            "--node-labels=" + ",".join(f"{key}={value}" for key, value in LABELS.items()),
        ],
    )
    process.start("kube-proxy", [f"{BIN}/kube-proxy", f"--config={CONFIG}/kube-proxy.yaml"])


def _write(name: str, content: str) -> None:
    """Only when it differs: kube-proxy ends as soon as its configuration file is written to."""
    file = CONFIG / name
    if not file.exists() or file.read_text() != content:
        file.write_text(content)
