"""Process cli: the manifests of a release, in their order, and where each object lives on the API server."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import yaml

from .command import Trouble

Document = dict[str, Any]
T = TypeVar("T")

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


_REGISTRY = re.compile(r"[A-Za-z0-9.-]+(:[0-9]+)?(/[a-z0-9._-]+)*/?")


class _Metadata(msgspec.Struct):
    name: str
    namespace: str = ""


class _Head(msgspec.Struct, rename="camel"):
    """What every document must say."""

    api_version: str
    kind: str
    metadata: _Metadata


class _Kustomization(msgspec.Struct):
    resources: tuple[str, ...]


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
        if not _REGISTRY.fullmatch(registry):
            raise Trouble(f"--registry must be HOST[:PORT][/PATH], was: {registry!r}")
        folder = folder or _shipped()
        kustomization = folder / "kustomization.yaml"
        names = _as(_Kustomization, next(iter(_read(kustomization)), None), kustomization).resources
        documents = [each for name in names for each in _documents(folder / name, registry.rstrip("/"))]
        release = cls(tuple(documents))
        if len(list(release.of("Deployment", "autoscaler"))) != 1:
            raise Trouble(f"{folder}: must hold one Deployment autoscaler")
        return release

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


def _documents(path: Path, registry: str) -> Iterator[Document]:
    for document in _read(path, registry):
        head = _as(_Head, document, path)
        if head.kind not in KINDS:
            raise Trouble(f"{path}: a {head.kind} can't be installed")
        if KINDS[head.kind][1] and not head.metadata.namespace:
            raise Trouble(f"{path}: {title(document)} lacks a namespace")
        yield document


def _read(path: Path, registry: str = REGISTRY) -> list[Any]:
    """The documents of a YAML file, without empty ones."""
    try:
        text = path.read_text(encoding="utf-8").replace(f"{REGISTRY}/", f"{registry}/")
        return [each for each in yaml.safe_load_all(text) if each is not None]
    except OSError as error:
        raise Trouble(f"{path}: {error.strerror}") from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise Trouble(f"{path}: is no YAML: {' '.join(str(error).split())}") from error


def _as(kind: type[T], found: object, path: Path) -> T:
    try:
        return msgspec.convert(found, kind)
    except msgspec.ValidationError as error:
        raise Trouble(f"{path}: {error}") from error
