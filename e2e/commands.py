"""The commands a user would type: kubectl and kn, with what they printed in the error."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
BED_BINARIES = ROOT / ".testbed/bin"
REGISTRY = os.environ.get("REGISTRY", "hasgpu.local")
"""Where the cluster finds this project's images; they are imported into the bed under that name."""


class CommandFailed(RuntimeError):
    """A command ended badly; the message has the command and what it said."""


def environment() -> dict[str, str]:
    """The caller's, with the bed's kubectl, kn and kubeconfig where the caller has none."""
    env = dict(os.environ)
    env["PATH"] = f"{BED_BINARIES}:{Path(shutil.which('python3') or '/').parent}:{env.get('PATH', '')}"
    env.setdefault("KUBECONFIG", str(ROOT / ".testbed/kubeconfig"))
    return env


def run(*words: str, stdin: str | None = None, timeout_s: float = 120.0) -> str:
    """Standard output of a command; raises CommandFailed."""
    done = subprocess.run(
        words, input=stdin, capture_output=True, text=True, timeout=timeout_s, env=environment(), check=False
    )
    if done.returncode:
        raise CommandFailed(f"{' '.join(words)}: exit {done.returncode}\n{done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def kubectl(*words: str, stdin: str | None = None, timeout_s: float = 120.0) -> str:
    """kubectl's output."""
    return run("kubectl", *words, stdin=stdin, timeout_s=timeout_s)


def kubectl_json(*words: str) -> dict[str, Any]:
    """kubectl's output with -o json."""
    answer: dict[str, Any] = json.loads(kubectl(*words, "-o", "json"))
    return answer


def apply(manifest: Mapping[str, Any] | str) -> None:
    """kubectl apply of an object or of YAML text."""
    kubectl("apply", "-f", "-", stdin=manifest if isinstance(manifest, str) else json.dumps(manifest))


def kn(*words: str, timeout_s: float = 180.0) -> str:
    """kn's output."""
    return run("kn", *words, timeout_s=timeout_s)


def end_services(namespace: str) -> None:
    """Deletes a namespace's Knative services; their pods are on the way out when this returns."""
    kubectl("--namespace", namespace, "delete", "ksvc", "--all")
    kubectl("--namespace", namespace, "wait", "--for=delete", "deployments,replicasets", "--all", "--timeout=90s")
    kubectl("--namespace", namespace, "delete", "pods", "--all", "--wait=false")


def remove_services(namespace: str) -> None:
    """Deletes a namespace's Knative services and waits for their pods.

    Then the namespace goes at once; with pods in it its controller would look again only after minutes.
    """
    end_services(namespace)
    kubectl("--namespace", namespace, "wait", "--for=delete", "pods", "--all", "--timeout=90s")


def wait_if_leaving(namespace: str) -> None:
    """Returns when no namespace of that name is being deleted."""
    phase = kubectl("get", "namespace", namespace, "--ignore-not-found", "-o", "jsonpath={.status.phase}")
    if phase == "Terminating":
        kubectl("wait", "--for=delete", f"namespace/{namespace}", "--timeout=200s", timeout_s=210)
