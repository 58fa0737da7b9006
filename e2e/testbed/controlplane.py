"""etcd, API server, controller manager and scheduler as host processes. It may not know nodes or Knative."""

from __future__ import annotations

import ssl
import time
import urllib.error
import urllib.request

from e2e.testbed import process
from e2e.testbed.addresses import API_PORT, API_URL, ETCD_URL, NODE_IP, POD_RANGE, SERVICE_RANGE
from e2e.testbed.paths import BIN, LOGS, PKI, STATE
from e2e.testbed.shell import CommandError


def start_etcd() -> None:
    process.start(
        "etcd",
        [
            "etcd",
            "--name=testbed",
            f"--data-dir={STATE}/etcd",
            f"--listen-client-urls={ETCD_URL}",
            f"--advertise-client-urls={ETCD_URL}",
            "--listen-peer-urls=http://127.0.0.1:2380",
            "--initial-advertise-peer-urls=http://127.0.0.1:2380",
            "--initial-cluster=testbed=http://127.0.0.1:2380",
            # The data does not outlive the bed, so there is nothing to keep safe from a power cut.
            "--unsafe-no-fsync=true",
            "--logger=zap",
            "--log-level=warn",
        ],
    )


def start_apiserver() -> None:
    process.start(
        "kube-apiserver",
        [
            f"{BIN}/kube-apiserver",
            f"--etcd-servers={ETCD_URL}",
            "--bind-address=0.0.0.0",
            f"--secure-port={API_PORT}",
            f"--advertise-address={NODE_IP}",
            f"--tls-cert-file={PKI}/apiserver.crt",
            f"--tls-private-key-file={PKI}/apiserver.key",
            f"--client-ca-file={PKI}/ca.crt",
            f"--kubelet-client-certificate={PKI}/apiserver-kubelet-client.crt",
            f"--kubelet-client-key={PKI}/apiserver-kubelet-client.key",
            f"--kubelet-certificate-authority={PKI}/ca.crt",
            "--kubelet-preferred-address-types=InternalIP",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            f"--service-account-key-file={PKI}/service-account.pub",
            f"--service-account-signing-key-file={PKI}/service-account.key",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            f"--service-cluster-ip-range={SERVICE_RANGE}",
            "--allow-privileged=true",
            "--profiling=false",
        ],
    )


def start_controllers() -> None:
    """Only once the API server is ready: they would find it missing and wait seconds before the next try."""
    process.start(
        "kube-controller-manager",
        [
            f"{BIN}/kube-controller-manager",
            f"--kubeconfig={PKI}/controller-manager.kubeconfig",
            f"--root-ca-file={PKI}/ca.crt",
            f"--cluster-signing-cert-file={PKI}/ca.crt",
            f"--cluster-signing-key-file={PKI}/ca.key",
            f"--service-account-private-key-file={PKI}/service-account.key",
            "--use-service-account-credentials=true",
            "--allocate-node-cidrs=false",
            f"--cluster-cidr={POD_RANGE}",
            "--leader-elect=false",
        ],
    )
    process.start(
        "kube-scheduler",
        [f"{BIN}/kube-scheduler", f"--kubeconfig={PKI}/scheduler.kubeconfig", "--leader-elect=false"],
    )


def is_ready() -> bool:
    """Ready to serve, asked with no client certificate (readyz is open to all)."""
    context = ssl.create_default_context(cafile=str(PKI / "ca.crt")) if (PKI / "ca.crt").exists() else None
    try:
        with urllib.request.urlopen(f"{API_URL}/readyz", timeout=2, context=context) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def wait_ready(within_s: float = 60.0) -> None:
    deadline = time.monotonic() + within_s
    while not is_ready():
        if not process.running("kube-apiserver"):
            raise CommandError(f"kube-apiserver ended: see {LOGS}/kube-apiserver.log")
        if time.monotonic() > deadline:
            raise CommandError(f"kube-apiserver not ready within {within_s:.0f} s: see {LOGS}/kube-apiserver.log")
        time.sleep(0.05)
