"""Adapter cluster: what every pod is given to speak to its API server. Reads files; makes no request.

The kubernetes client can do this too, but its import costs each process of ours 14 MB and a fifth of a second of start.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from .errors import Unreachable

FOLDER = Path("/var/run/secrets/kubernetes.io/serviceaccount")
HOST, PORT = "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"
_READ_AGAIN_S = 60.0
"""The kubelet renews the token long before it expires, and tells nobody."""


class ServiceAccount:
    """One pod's; raises Unreachable where the pod was given none."""

    def __init__(
        self,
        environment: Mapping[str, str],
        folder: Path = FOLDER,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._token_file, self.ca_file = folder / "token", folder / "ca.crt"
        self._monotonic = monotonic
        self._token, self._read_at_s = "", 0.0
        host, port = environment.get(HOST, ""), environment.get(PORT, "443")
        self.url = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
        if not self.ca_file.is_file():
            raise Unreachable(f"no cluster to talk to by the pod's ServiceAccount: {self.ca_file} is missing")
        self.authorization()

    def authorization(self) -> str:
        """The header of a request made now; a token that can't be read anew is used on."""
        now = self._monotonic()
        if not self._token or now - self._read_at_s >= _READ_AGAIN_S:
            self._read_at_s = now
            try:
                self._token = self._token_file.read_text().strip() or self._token
            except OSError as error:
                if not self._token:
                    raise Unreachable(f"no cluster to talk to by the pod's ServiceAccount: {error}") from error
            if not self._token:
                raise Unreachable(f"no cluster to talk to by the pod's ServiceAccount: {self._token_file} is empty")
        return f"Bearer {self._token}"
