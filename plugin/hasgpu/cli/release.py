"""Process cli: the manifests of a release, in their order, and where each object lives on the API server."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from .command import Trouble

Document = dict[str, Any]

REGISTRY = "hasgpu.local"
"""Of the manifests' images: no registry, but the name under which they are imported into nodes."""

# Kind -> plural, and whether it lives in a namespace. A test holds it to what the manifests hold.
KINDS = {
    "ClusterRole": ("clusterroles", False),
    "ClusterRoleBinding": ("clusterrolebindings", False),
    "ConfigMap": ("configmaps", True),
    "CSIDriver": ("csidrivers", False),
    "CustomResourceDefinition": ("customresourcedefinitions", False),
    "DaemonSet": ("daemonsets", True),
    "Deployment": ("deployments", True),
    "MutatingWebhookConfiguration": ("mutatingwebhookconfigurations", False),
    "Namespace": ("namespaces", False),
    "PodDisruptionBudget": ("poddisruptionbudgets", True),
    "Role": ("roles", True),
    "RoleBinding": ("rolebindings", True),
    "Service": ("services", True),
    "ServiceAccount": ("serviceaccounts", True),
    "ValidatingAdmissionPolicy": ("validatingadmissionpolicies", False),
    "ValidatingAdmissionPolicyBinding": ("validatingadmissionpolicybindings", False),
}


def object_path(document: Document) -> str:
    """The path of the object that a manifest describes."""
    plural, namespaced = KINDS[document["kind"]]
    version, metadata = document["apiVersion"], document["metadata"]
    prefix = f"/apis/{version}" if "/" in version else f"/api/{version}"
    within = f"/namespaces/{metadata['namespace']}" if namespaced else ""
    return f"{prefix}{within}/{plural}/{metadata['name']}"


def title(document: Document) -> str:
    """For people: kind and name."""
    return f"{document['kind']} {document['metadata']['name']}"


@dataclass(frozen=True, slots=True)
class Release:
    """What install applies."""

    documents: tuple[Document, ...]

    @classmethod
    def load(cls, folder: Path | None = None, registry: str = REGISTRY) -> Release:
        """The folder's manifests in the order of its kustomization, their images from ``registry``."""
        folder = folder or _shipped()
        names = yaml.safe_load((folder / "kustomization.yaml").read_text())["resources"]
        texts = [(folder / name).read_text().replace(f"{REGISTRY}/", f"{registry.rstrip('/')}/") for name in names]
        documents = [document for text in texts for document in yaml.safe_load_all(text) if document]
        for document in documents:
            if document["kind"] not in KINDS:
                raise Trouble(f"{folder}: a {document['kind']} can't be installed")
        return cls(tuple(documents))

    def of(self, kind: str, name: str = "") -> Iterator[Document]:
        """The documents of a kind, or the one of that name."""
        return (each for each in self.documents if each["kind"] == kind and name in ("", each["metadata"]["name"]))

    def to_yaml(self) -> str:
        """One stream."""
        return str(yaml.safe_dump_all(self.documents, sort_keys=False, width=120))


def _shipped() -> Path:
    """In a checkout: manifests/. Installed: beside the interpreter, where the wheel's data files go."""
    for folder in (Path(__file__).parents[3] / "manifests", Path(sys.prefix) / "share/hasgpu/manifests"):
        if (folder / "kustomization.yaml").exists():
            return folder
    raise Trouble("the release's manifests are not beside this installation: name their folder with --manifests")
