"""The agent's HTTPS port: GET /v1/slices for the autoscaler (mTLS), /metrics and /healthz for everybody.

A certificate is asked for, not demanded: probes and scrapers have none. /v1 answers only to one signed by our CA.
"""

from __future__ import annotations

import logging
import socket
import ssl
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec

from hasgpu.model.quantity import parse_duration_s
from hasgpu.model.report import NodeReport

from .exposition import CONTENT_TYPE

log = logging.getLogger(__name__)

LONGEST_POLL_S = 30.0
_IDLE_S, _STOP_WITHIN_S = 60.0, 0.1
# Whoever bears no certificate of ours may come from any pod: it gets little time, and all together few threads.
_STRANGER_IDLE_S = 5.0
MOST_CONNECTIONS = 128


class Certificates:
    """The mounted Secret; loaded again when the kubelet has put a renewed one there."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._loaded_ns = 0
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.context.verify_mode = ssl.CERT_OPTIONAL
        self.refresh()

    def refresh(self) -> None:
        """Takes over a renewed certificate for the connections to come."""
        changed_ns = (self._folder / "tls.crt").stat().st_mtime_ns
        if changed_ns != self._loaded_ns:
            self.context.load_cert_chain(self._folder / "tls.crt", self._folder / "tls.key")
            self.context.load_verify_locations(cafile=self._folder / "ca.crt")
            self._loaded_ns = changed_ns


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, port: int, handler: type[BaseHTTPRequestHandler], certificates: Certificates) -> None:
        self._certificates = certificates
        self._room = threading.BoundedSemaphore(MOST_CONNECTIONS)
        super().__init__(("", port), handler)

    def get_request(self) -> tuple[socket.socket, object]:
        """The handshake is left to the connection's own thread: a silent peer must not stop the others."""
        connection, peer = super().get_request()
        connection.settimeout(_STRANGER_IDLE_S)
        try:
            self._certificates.refresh()
        except (OSError, ssl.SSLError) as error:
            log.error("certificate not renewed: %s", error)
        context = self._certificates.context
        return context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False), peer

    def process_request(self, request: Any, client_address: Any) -> None:
        """A thread for each connection, as long as there are not too many."""
        if self._room.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """One connection, in its thread."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: object, client_address: object) -> None:
        """Peers that hang up or speak no TLS are daily business."""
        log.debug("connection of %s ended", client_address, exc_info=True)


class Api:
    """Serves until stopped."""

    def __init__(
        self,
        port: int,
        certificates: Certificates,
        newer: Callable[[int, float], NodeReport],
        metrics: Callable[[], str],
        healthy: Callable[[], bool],
    ) -> None:
        class Handler(_Handler):
            """The handler with what it may ask."""

        Handler.newer, Handler.metrics, Handler.healthy = (
            staticmethod(newer),
            staticmethod(metrics),
            staticmethod(healthy),
        )
        self._server = _Server(port, Handler, certificates)

    @property
    def port(self) -> int:
        """The port listened on."""
        return int(self._server.server_address[1])

    def start(self) -> None:
        """Begins to serve."""
        threading.Thread(target=self._server.serve_forever, args=(_STOP_WITHIN_S,), name="api", daemon=True).start()

    def stop(self) -> None:
        """Answers no more."""
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    newer: Callable[[int, float], NodeReport]
    metrics: Callable[[], str]
    healthy: Callable[[], bool]

    def setup(self) -> None:
        """Shakes hands; a client known by its certificate may be idle between two polls."""
        super().setup()
        if isinstance(self.connection, ssl.SSLSocket):
            self.connection.do_handshake()
            if self.connection.getpeercert():
                self.connection.settimeout(_IDLE_S)

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        if url.path == "/v1/slices":
            self._slices(url.query)
        elif url.path == "/metrics":
            self._answer(200, CONTENT_TYPE, self.metrics().encode())
        elif url.path == "/healthz":
            fine = self.healthy()
            self._answer(200 if fine else 503, "text/plain", b"ok\n" if fine else b"the tables are not kept up\n")
        else:
            self._answer(404, "text/plain", b"not found\n")

    def log_message(self, format: str, *args: object) -> None:
        """A line for each poll would drown all else."""

    def _slices(self, query: str) -> None:
        if not isinstance(self.connection, ssl.SSLSocket) or not self.connection.getpeercert():
            self._answer(403, "text/plain", b"a client certificate of hasgpu's CA is required\n")
            return
        asked = parse_qs(query)
        try:
            after = int(asked.get("after", ["-1"])[0])
            timeout_s = parse_duration_s(asked.get("timeout", ["0s"])[0])
        except ValueError as error:
            self._answer(400, "text/plain", f"after or timeout: {error}\n".encode())
            return
        report = self.newer(after, min(max(timeout_s, 0.0), LONGEST_POLL_S))
        self._answer(200, "application/json", msgspec.json.encode(report))

    def _answer(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
