"""gunicorn, told in code: TLS, threads, time limits. What is admitted is decided elsewhere.

One worker process with threads: an admission takes well under a millisecond, and a second worker would hold every watch
and count every metric twice. The other replica is the redundancy. gunicorn reads the certificate for every new
connection, so a renewed file is served without a reload.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Any

from flask import Flask
from gunicorn.app.base import BaseApplication

from .environment import Environment

THREADS = 8
# Above the 30 s after which API servers close idle connections, so that they close first.
KEEP_ALIVE_S = 65
# Below the API server's patience with us (timeoutSeconds), far above what a handshake or a review takes to arrive.
READ_TIMEOUT_S = 2.0


class PatientSocket(ssl.SSLSocket):
    """Waits for a while where gunicorn would for ever: eight peers that fall silent must not hold all threads."""

    def settimeout(self, value: float | None) -> None:
        """Never without end."""
        super().settimeout(READ_TIMEOUT_S if value is None else value)

    def setblocking(self, flag: bool) -> None:
        """Blocking means: for a while."""
        self.settimeout(READ_TIMEOUT_S if flag else 0.0)


class Server(BaseApplication):  # type: ignore[misc]  # gunicorn has no types
    """Serves what ``make_app`` returns; it is called in the worker, after the fork."""

    def __init__(self, environment: Environment, make_app: Callable[[], Flask]) -> None:
        self._environment, self._make_app = environment, make_app
        super().__init__()

    def load_config(self) -> None:
        """Everything here; no file, no command line."""
        for name, value in options(self._environment).items():
            self.cfg.set(name, value)

    def load(self) -> Flask:
        """The application of this worker."""
        return self._make_app()


def options(environment: Environment) -> dict[str, Any]:
    """gunicorn's settings by name."""
    return {
        "bind": [f"{environment.host}:{environment.port}"],
        "worker_class": "gthread",
        "workers": 1,
        "threads": THREADS,
        "keepalive": KEEP_ALIVE_S,
        "timeout": 30,
        "graceful_timeout": 10,
        "certfile": str(environment.server_file),
        "keyfile": str(environment.server_file),
        "ssl_context": tls,
        "worker_tmp_dir": "/dev/shm",  # the root file system is read-only
        "control_socket_disable": True,
        "proc_name": "hasgpu-webhook",
        "loglevel": "warning",
    }


def tls(_: object, make_default: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
    """The context of a connection."""
    context = make_default()
    context.sslsocket_class = PatientSocket
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context
