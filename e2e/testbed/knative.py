"""Knative Serving and Kourier as this bed installs them: upstream's manifests, rewritten for one small machine.

It may not talk to the cluster.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

from e2e.testbed.addresses import SERVICE_DOMAIN
from e2e.testbed.paths import MANIFESTS
from e2e.testbed.toolchain import UPSTREAM

Document = dict[str, Any]

SETTINGS: dict[str, dict[str, str]] = {
    # There is no registry to ask for a digest.
    "config-deployment": {"registries-skipping-tag-resolving": "hasgpu.local"},
    "config-network": {"ingress-class": "kourier.ingress.networking.knative.dev"},
    "config-domain": {SERVICE_DOMAIN: ""},
    # Short enough to watch a service go to zero; upstream's are 60 s and 30 s.
    "config-autoscaler": {"stable-window": "12s", "scale-to-zero-grace-period": "6s"},
}
"""Written before the first apply: later changes would wait for the webhook that validates them."""

_NOT_WANTED = ("HorizontalPodAutoscaler", "PodDisruptionBudget")
_SYSTEM_CPU_REQUEST = "10m"
_SYSTEM_GRACE_S = 10


def rewrite(document: Document) -> Document | None:
    """One manifest as the bed wants it; None where it has no use for it."""
    kind, name = document.get("kind"), document.get("metadata", {}).get("name", "")
    if kind in _NOT_WANTED:
        return None
    if kind == "ConfigMap" and name in SETTINGS:
        document["data"] = {**(document.get("data") or {}), **SETTINGS[name]}
    if kind == "Deployment":
        _hasten(document["spec"]["template"]["spec"])
    return document


def rename_images(text: str) -> str:
    """The images of the bed in place of ko's import paths and of Envoy's registry."""
    text = re.sub(r"ko://knative\.dev/serving/cmd/(\w+)", r"hasgpu.local/kn-\1:1", text)
    text = text.replace("ko://knative.dev/net-kourier/cmd/kourier", "hasgpu.local/kn-kourier:1")
    return re.sub(r"docker\.io/envoyproxy/envoy:\S+", "hasgpu.local/kn-envoy:1", text)


def _hasten(pod: Document) -> None:
    """Probe at once and every second; ask for little CPU, as two cores carry everything; end quickly."""
    for container in pod["containers"]:
        readiness = container.get("readinessProbe")
        if readiness:
            readiness.pop("initialDelaySeconds", None)
            readiness["periodSeconds"] = 1
        container.get("resources", {}).get("requests", {})["cpu"] = _SYSTEM_CPU_REQUEST
        # The gateway's hook calls a program that is not in our image, then sleeps for 15 s.
        container.pop("lifecycle", None)
    if pod.get("terminationGracePeriodSeconds", 0) > _SYSTEM_GRACE_S:
        pod["terminationGracePeriodSeconds"] = _SYSTEM_GRACE_S


def render() -> list[list[Path]]:
    """Write what is to be applied; files of one step may be applied together."""
    serving, networking = UPSTREAM / "serving" / "core", UPSTREAM / "networking"
    kinds = [
        *sorted((serving / "300-resources").glob("*.yaml")),
        *(networking / f"{name}.yaml" for name in ("certificate", "domain-claim", "ingress", "serverlessservice")),
        UPSTREAM / "caching" / "image.yaml",
    ]
    core = [
        serving / "100-namespace.yaml",
        *sorted((serving / "200-roles").glob("*.yaml")),
        serving / "200-serviceaccount.yaml",
        *sorted((serving / "configmaps").glob("*.yaml")),
        networking / "config-network.yaml",
        *sorted((serving / "deployments").glob("*.yaml")),
        *sorted((serving / "webhooks").glob("*.yaml")),
    ]
    kourier = sorted((UPSTREAM / "net-kourier").glob("*.yaml"))
    steps = {"1-kinds": kinds, "2-serving": core, "2-kourier": kourier, "3-cache": [serving / "999-cache.yaml"]}
    MANIFESTS.mkdir(parents=True, exist_ok=True)
    written: dict[str, list[Path]] = {}
    for name, files in steps.items():
        path = MANIFESTS / f"{name}.yaml"
        path.write_text(yaml.dump_all(_documents(files), Dumper=_Dumper))
        written.setdefault(name[0], []).append(path)
    return list(written.values())


_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_Dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


def _documents(files: Iterable[Path]) -> Iterator[Document]:
    for file in files:
        for document in yaml.load_all(rename_images(file.read_text()), Loader=_Loader):
            rewritten = rewrite(document) if document else None
            if rewritten is not None:
                yield rewritten
