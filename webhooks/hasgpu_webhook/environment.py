"""What the Deployment tells the process by environment variables. Read once, at the start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """Where this replica lives and listens."""

    namespace: str
    knative_namespace: str
    host: str
    port: int
    tls_folder: Path
    sidecar_image: str
    """Of GPU pods, where config-hasgpu names none."""

    @property
    def server_file(self) -> Path:
        """Certificate and key of the server."""
        return self.tls_folder / "server.pem"


def read_environment(variables: Mapping[str, str]) -> Environment:
    """The environment, or a ValueError that names variable and value."""
    port = variables.get("WEBHOOK_PORT", "8443")
    if not port.isdecimal() or not 0 < int(port) < 65536:
        raise ValueError(f"WEBHOOK_PORT={port!r}: must be a port")
    return Environment(
        namespace=variables.get("SYSTEM_NAMESPACE", "hasgpu-system"),
        knative_namespace=variables.get("KNATIVE_NAMESPACE", "knative-serving"),
        host=variables.get("WEBHOOK_HOST", "0.0.0.0"),
        port=int(port),
        tls_folder=Path(variables.get("WEBHOOK_TLS_FOLDER", "/run/hasgpu-webhook")),
        sidecar_image=variables.get("SIDECAR_IMAGE", "hasgpu.local/hasgpu-sidecar:1"),
    )
