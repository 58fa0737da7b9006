"""A fake API server on loopback: the outermost edge of `hasgpu.cluster`, for tests of whoever uses it.

The HTTP around an ObjectStore: requests, watches (with bookmarks, 410, a half-open mode), and refusals to order.

    with FakeApi() as api:
        api.create("/api/v1/namespaces/default/pods", {"metadata": {"name": "a"}})
        reflector = Reflector(api.session(), "/api/v1/pods", Pod).start()
"""

from __future__ import annotations

import copy
import json
import socketserver
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from hasgpu.cluster.session import Session

from tests.cluster.object_store import Address, Entry, Object, ObjectStore, Refusal, selected


class FakeApi:
    """The server and what a test may do to it."""

    def __init__(self, port: int = 0) -> None:
        """``port``: 0 for a free one."""
        self.store = ObjectStore()
        self.changed = self.store.changed
        self.watchers: set[int] = set()
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.bodies: list[tuple[str, str, Any]] = []
        self.frozen = False
        self.closing = False
        self._failures: list[tuple[str, str, Refusal]] = []
        self._server = _Server(("127.0.0.1", port), _Handler)
        self._server.api = self
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def __enter__(self) -> FakeApi:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        with self.changed:
            self.closing = True
            self.changed.notify_all()
        self._server.shutdown()
        self._server.server_close()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def session(self) -> Session:
        return Session(self.url)

    # What a test does to the world.

    def create(self, path: str, body: Object) -> Object:
        """POSTs from the outside."""
        with self.changed:
            return self.store.create(Address.parse(path), body)

    def get(self, path: str) -> Object | None:
        """The object now."""
        address = Address.parse(path)
        with self.changed:
            return copy.deepcopy(self.store.objects.get(address.kind, {}).get((address.namespace, address.name)))

    def list(self, path: str) -> list[Object]:
        """All objects of a collection path."""
        address = Address.parse(path)
        with self.changed:
            return copy.deepcopy(list(self.store.selected(address, {})))

    def merge(self, path: str, body: Object) -> Object:
        """Merge-patches from the outside; also status."""
        with self.changed:
            return self.store.merge(Address.parse(path), body)

    def delete(self, path: str) -> None:
        """Deletes at once."""
        with self.changed:
            self.store.delete(Address.parse(path))

    def compact(self) -> None:
        """Watches from before now get 410, and so do those that run."""
        with self.changed:
            self.store.compact()

    def bookmark(self, kind: tuple[str, str]) -> int:
        """Sends a bookmark to the watchers of a kind; returns its resourceVersion."""
        with self.changed:
            bookmark = {"metadata": {"resourceVersion": str(self.store.version + 1)}}
            return self.store.tell(kind, "BOOKMARK", bookmark)

    def replay(self, kind: tuple[str, str], type: str, body: Object) -> None:
        """Sends a watch event as it is, e.g. one that comes late with an old resourceVersion."""
        with self.changed:
            self.store.tell(kind, type, body)

    def fail_next(
        self, method: str, path_part: str, code: int, reason: str = "", *, times: int = 1, retry_after: str = ""
    ) -> None:
        """The next requests with that method whose path contains ``path_part`` are refused."""
        headers = {"Retry-After": retry_after} if retry_after else {}
        with self.changed:
            self._failures += [(method, path_part, Refusal(code, reason or str(code), headers=headers))] * times

    def freeze(self) -> None:
        """Half-open: watches stay connected and say nothing; new requests are accepted and never answered."""
        with self.changed:
            self.frozen = True

    def thaw(self) -> None:
        """The network is back for new connections."""
        with self.changed:
            self.frozen = False
            self.changed.notify_all()

    def wait_watchers(self, count: int = 1, timeout_s: float = 5.0) -> None:
        """Until so many watches are open."""
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.watchers) >= count, timeout_s), "no watch came"

    # What requests do.

    def take_failure(self, method: str, path: str) -> Refusal | None:
        for index, (wanted, part, refusal) in enumerate(self._failures):
            if wanted == method and part in path:
                del self._failures[index]
                return refusal
        return None


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    api: FakeApi

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that go away mid-answer are what these tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Headers and body are two writes: with Nagle each answer would wait 40 ms for an acknowledgement.
    disable_nagle_algorithm = True
    server: socketserver.BaseServer

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""

    def _handle(self) -> None:
        api: FakeApi = self.server.api  # type: ignore[attr-defined]
        url = urlsplit(self.path)
        query = dict(parse_qsl(url.query))
        raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = json.loads(raw) if raw else None
        with api.changed:
            api.requests.append((self.command, url.path, query))
            api.bodies.append((self.command, url.path, body))
            refusal = api.take_failure(self.command, url.path)
            if api.frozen:
                api.changed.wait_for(lambda: api.closing or not api.frozen)
                self.close_connection = True
                return
        try:
            if refusal is not None:
                raise refusal
            if query.get("watch") == "true":
                self._watch(api, Address.parse(url.path), query)
                return
            with api.changed:
                content_type = self.headers.get("Content-Type", "")
                answer = api.store.answer(self.command, Address.parse(url.path), query, body, content_type)
            self._send(201 if self.command == "POST" else 200, answer)
        except Refusal as error:
            self._send(error.code, error.body(), error.headers)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _handle  # noqa: N815 (http.server's names)

    def _send(self, code: int, body: Object, headers: dict[str, str] | None = None) -> None:
        data = json.dumps(body).encode()
        self.send_response(code)
        for key, value in {
            "Content-Type": "application/json",
            "Content-Length": str(len(data)),
            **(headers or {}),
        }.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(data)

    def _watch(self, api: FakeApi, address: Address, query: dict[str, str]) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        seen, ends_at = int(query["resourceVersion"]), time.monotonic() + float(query.get("timeoutSeconds", "300"))
        with api.changed:
            api.watchers.add(id(self))
            api.changed.notify_all()
        try:
            while time.monotonic() < ends_at and not api.closing:
                with api.changed:
                    if seen < api.store.compacted:
                        gone = Refusal(410, "Expired", "too old resource version")
                        self._line("ERROR", gone.body())
                        break
                    fresh = [] if api.frozen else [e for e in api.store.history if e.version > seen]
                    for entry in fresh:
                        seen = entry.version
                        if self._wanted(address, query, entry):
                            self._line(entry.type, entry.object)
                    if not fresh:
                        api.changed.wait(0.2)
            self.wfile.write(b"0\r\n\r\n")
        except OSError:
            self.close_connection = True
        finally:
            with api.changed:
                api.watchers.discard(id(self))

    @staticmethod
    def _wanted(address: Address, query: dict[str, str], entry: Entry) -> bool:
        if entry.kind != address.kind:
            return False
        if entry.type == "BOOKMARK":
            return query.get("allowWatchBookmarks") == "true"
        namespace = entry.object["metadata"].get("namespace", "")
        return address.namespace in ("", namespace) and selected(entry.object, query)

    def _line(self, type: str, body: Object) -> None:
        data = json.dumps({"type": type, "object": body}).encode() + b"\n"
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        self.wfile.flush()
