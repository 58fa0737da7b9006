"""The cluster's certificates and kubeconfigs, made by openssl. It may not know which process uses which."""

from __future__ import annotations

import base64
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import yaml

from e2e.testbed.addresses import API_URL, KUBERNETES_SERVICE_IP, NODE_IP, NODE_NAME
from e2e.testbed.paths import KUBECONFIG, PKI
from e2e.testbed.shell import run

_OPENSSL_CONFIG = "[req]\ndistinguished_name = dn\nprompt = no\n[dn]\nCN = unused\n"
_DAYS = "3650"


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """One leaf: its file name, its subject and, for servers, the names it answers to."""

    name: str
    common_name: str
    organisation: str = ""
    alternative_names: tuple[str, ...] = ()

    @property
    def subject(self) -> str:
        return (f"/O={self.organisation}" if self.organisation else "") + f"/CN={self.common_name}"


CERTIFICATES = (
    Certificate(
        name="apiserver",
        common_name="kube-apiserver",
        alternative_names=(
            "DNS:kubernetes",
            "DNS:kubernetes.default",
            "DNS:kubernetes.default.svc",
            "DNS:kubernetes.default.svc.cluster.local",
            "DNS:localhost",
            "IP:127.0.0.1",
            f"IP:{KUBERNETES_SERVICE_IP}",
            f"IP:{NODE_IP}",
        ),
    ),
    Certificate(name="kubelet-server", common_name=NODE_NAME, alternative_names=(f"IP:{NODE_IP}", f"DNS:{NODE_NAME}")),
    Certificate(name="apiserver-kubelet-client", common_name="kube-apiserver", organisation="system:masters"),
    Certificate(name="admin", common_name="admin", organisation="system:masters"),
    Certificate(name="controller-manager", common_name="system:kube-controller-manager"),
    Certificate(name="scheduler", common_name="system:kube-scheduler"),
    Certificate(name="proxy", common_name="system:kube-proxy"),
    Certificate(name="dns", common_name="hasgpu-testbed-dns", organisation="system:masters"),
    # The name the node authorizer expects: no bootstrap token and no approval needed.
    Certificate(name="kubelet", common_name=f"system:node:{NODE_NAME}", organisation="system:nodes"),
)


def make() -> None:
    """Make what is missing; a cluster that runs keeps its authority."""
    if (PKI / "complete").exists():
        return
    PKI.mkdir(parents=True, exist_ok=True)
    (PKI / "openssl.cnf").write_text(_OPENSSL_CONFIG)
    _openssl_request("ca", "/CN=hasgpu-testbed", "basicConstraints=critical,CA:TRUE", "keyUsage=keyCertSign,cRLSign")
    run("openssl", "genrsa", "-out", str(PKI / "service-account.key"), "2048")
    run("openssl", "rsa", "-in", f"{PKI}/service-account.key", "-pubout", "-out", f"{PKI}/service-account.pub")
    with ThreadPoolExecutor() as pool:
        list(pool.map(_sign, CERTIFICATES))
    for certificate in CERTIFICATES:
        _write_kubeconfig(PKI / f"{certificate.name}.kubeconfig", certificate.name)
    _write_kubeconfig(KUBECONFIG, "admin")
    (PKI / "complete").touch()


def _sign(certificate: Certificate) -> None:
    extensions = ["basicConstraints=critical,CA:FALSE", "extendedKeyUsage=serverAuth,clientAuth"]
    if certificate.alternative_names:
        extensions.append("subjectAltName=" + ",".join(certificate.alternative_names))
    _openssl_request(certificate.name, certificate.subject, *extensions, signed=True)


def _openssl_request(name: str, subject: str, *extensions: str, signed: bool = False) -> None:
    command = ["openssl", "req", "-x509", "-config", str(PKI / "openssl.cnf"), "-days", _DAYS, "-subj", subject]
    command += ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-keyout", str(PKI / f"{name}.key"), "-out", str(PKI / f"{name}.crt")]
    if signed:
        command += ["-CA", str(PKI / "ca.crt"), "-CAkey", str(PKI / "ca.key")]
    for extension in extensions:
        command += ["-addext", extension]
    run(*command)


def _write_kubeconfig(path: Path, name: str) -> None:
    def encoded(file: str) -> str:
        return base64.b64encode((PKI / file).read_bytes()).decode()

    cluster = {"server": API_URL, "certificate-authority-data": encoded("ca.crt")}
    user = {"client-certificate-data": encoded(f"{name}.crt"), "client-key-data": encoded(f"{name}.key")}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "testbed",
        "clusters": [{"name": "testbed", "cluster": cluster}],
        "users": [{"name": name, "user": user}],
        "contexts": [{"name": "testbed", "context": {"cluster": "testbed", "user": name}}],
    }
    path.write_text(yaml.safe_dump(document))
    path.chmod(0o600)
