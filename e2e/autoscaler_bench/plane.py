"""An API server of the bench's own: etcd and kube-apiserver alone, so that nothing else acts on its objects.

Runs beside a bed: other ports, its own folder. Fairness (priority levels, 429) is on, as on a user's cluster.
"""

from __future__ import annotations

import atexit
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import yaml
from hasgpu.cluster.errors import ClusterError
from hasgpu.cluster.paths import CONFIG_MAPS, NAMESPACES, collection
from hasgpu.cluster.session import Session

from e2e.testbed.paths import BIN
from e2e.testbed.shell import run
from e2e.testbed.toolchain import UPSTREAM

ROOT = Path(__file__).resolve().parents[2]
FOLDER = Path(f"/tmp/hasgpu-autoscaler-bench-{os.getpid()}")
"""Of this run alone: two may run at a time, each in a network of its own."""
SYSTEM = "knative-serving"
_CERTIFICATE = FOLDER / "certificates/apiserver.crt"
"""Signed by itself at its first start; clients trust exactly it."""

_ETCD_PORT, _PEER_PORT, _API_PORT = 12379, 12380, 16443
ETCD_URL = f"http://127.0.0.1:{_ETCD_PORT}"
_CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_TOKEN = "bench"
_KINDS = ("podautoscaler", "metric", "serverlessservice")

CONFIGS: dict[str, dict[str, str]] = {
    "config-autoscaler": {},
    "config-deployment": {"queue-sidecar-image": "none"},
    "config-leader-election": {},
    "config-logging": {
        # Every line: decisions are counted by them.
        "zap-logger-config": '{"level": "info", "sampling": null, '
        '"outputPaths": ["stdout"], "errorOutputPaths": ["stderr"], "encoding": "json", '
        '"encoderConfig": {"timeKey": "time", "levelKey": "level", "messageKey": "message"}}'
    },
    "config-network": {},
    # Who asks for metrics pays for them; what they cost is no part of the comparison.
    "config-observability": {"metrics-protocol": "none"},
}


class Plane:
    """Starts empty; ``stop`` removes everything."""

    def __init__(self) -> None:
        shutil.rmtree(FOLDER, ignore_errors=True)
        FOLDER.mkdir(parents=True)
        self.kubeconfig = FOLDER / "kubeconfig"
        self._write_access()
        self._programs = [self._start("etcd", *self._etcd()), self._start("kube-apiserver", *self._api_server())]
        # Also where a run is broken off: what is left would hold the ports.
        atexit.register(self.stop)
        self.session = self._wait()
        self._install()

    def stop(self) -> None:
        """Ends both programs; once is enough."""
        atexit.unregister(self.stop)
        for program in reversed(self._programs):
            program.kill()
            program.wait()
        shutil.rmtree(FOLDER, ignore_errors=True)

    def pids(self) -> dict[str, int]:
        """Of etcd and the API server."""
        return {Path(str(program.args[0])).name: program.pid for program in self._programs}  # type: ignore[index]

    def kill_api_server(self) -> None:
        """As a crash does; what it stored stays."""
        program = self._programs.pop()
        program.kill()
        program.wait()

    def start_api_server(self) -> None:
        """Anew, until it answers."""
        self._programs.append(self._start("kube-apiserver", *self._api_server()))
        self._wait()

    def _start(self, name: str, *command: str) -> subprocess.Popen[bytes]:
        with (FOLDER / f"{name}.log").open("ab") as log:
            return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def _etcd(self) -> list[str]:
        client, peer = ETCD_URL, f"http://127.0.0.1:{_PEER_PORT}"
        return [
            *("etcd", "--name=bench", f"--data-dir={FOLDER}/etcd", "--unsafe-no-fsync=true", "--log-level=warn"),
            *("--logger=zap", f"--listen-client-urls={client}", f"--advertise-client-urls={client}"),
            *(f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}", f"--initial-cluster=bench={peer}"),
            "--quota-backend-bytes=8589934592",
        ]

    def _api_server(self) -> list[str]:
        return [
            *(f"{BIN}/kube-apiserver", f"--etcd-servers={ETCD_URL}", f"--secure-port={_API_PORT}"),
            *("--bind-address=127.0.0.1", f"--advertise-address={own_address()}", f"--cert-dir={FOLDER}/certificates"),
            *("--service-account-issuer=https://bench", f"--service-account-key-file={FOLDER}/sa.pub"),
            *(f"--service-account-signing-key-file={FOLDER}/sa.key", f"--token-auth-file={FOLDER}/tokens.csv"),
            *("--authorization-mode=AlwaysAllow", "--disable-admission-plugins=ServiceAccount", "--profiling=false"),
            *("--max-requests-inflight=3000", "--max-mutating-requests-inflight=2000"),
            "--service-cluster-ip-range=10.97.0.0/16",
        ]

    def _write_access(self) -> None:
        run("openssl", "genrsa", "-out", f"{FOLDER}/sa.key", "2048")
        run("openssl", "rsa", "-in", f"{FOLDER}/sa.key", "-pubout", "-out", f"{FOLDER}/sa.pub")
        (FOLDER / "tokens.csv").write_text(
            f'{_TOKEN},system:serviceaccount:{SYSTEM}:bench,1,"system:serviceaccounts"\n'
        )
        cluster = {"server": f"https://127.0.0.1:{_API_PORT}", "certificate-authority": str(_CERTIFICATE)}
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "bench", "cluster": cluster}],
            "users": [{"name": "bench", "user": {"token": _TOKEN}}],
            "contexts": [{"name": "bench", "context": {"cluster": "bench", "user": "bench"}}],
            "current-context": "bench",
        }
        self.kubeconfig.write_text(yaml.safe_dump(document))

    def _wait(self) -> Session:
        os.environ["KUBECONFIG"] = str(self.kubeconfig)
        end = time.monotonic() + 60
        while not _CERTIFICATE.exists() and time.monotonic() < end:
            time.sleep(0.1)
        session = Session.connect(user_agent="hasgpu-bench")
        while True:
            try:
                session.request("GET", "/readyz", timeout_s=2)
                return session
            except ClusterError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.2)

    def _install(self) -> None:
        files = [file for file in UPSTREAM.rglob("*.yaml") if file.stem in _KINDS]
        kinds = [document for file in files for document in yaml.safe_load_all(file.read_text()) if document]
        kinds += list(yaml.safe_load_all((ROOT / "manifests/100-crds.yaml").read_text()))
        for document in kinds:
            self.session.request("POST", _CRDS, body=document)
        self.make_namespace(SYSTEM)
        for name, data in CONFIGS.items():
            metadata = {"name": name, "namespace": SYSTEM}
            self.session.request("POST", collection(CONFIG_MAPS, SYSTEM), body={"metadata": metadata, "data": data})
        time.sleep(2)  # until the new kinds are served

    def make_namespace(self, name: str) -> None:
        """A namespace."""
        self.session.request("POST", collection(NAMESPACES), body={"metadata": {"name": name}})


def own_address() -> str:
    """An address of this machine that is not loopback: Knative's bucket endpoints refuse those."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))
        return str(probe.getsockname()[0])
