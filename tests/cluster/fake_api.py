"""A fake API server on loopback: the outermost edge of `hasgpu.cluster`, for tests of whoever uses it.

It keeps objects by resourceVersion, serves list (with continue), watch (with bookmarks, 410, a half-open mode), POST,
PUT (with conflicts), JSON and merge patch, `status` and `scale`, label and field selectors. It validates nothing.

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
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import jsonpatch
from hasgpu.cluster.session import Session

Object = dict[str, Any]
SUBRESOURCES = ("status", "scale", "binding", "eviction")


@dataclass(frozen=True)
class Address:
    """A parsed request path; ``kind`` is prefix and plural, e.g. ("/apis/apps/v1", "deployments")."""

    kind: tuple[str, str]
    namespace: str
    name: str
    subresource: str

    @classmethod
    def parse(cls, path: str) -> Address:
        parts = path.strip("/").split("/")
        cut = 2 if parts[0] == "api" else 3
        prefix, rest = "/" + "/".join(parts[:cut]), parts[cut:]
        namespace = ""
        if rest[0] == "namespaces" and len(rest) > 2 and rest[2] not in SUBRESOURCES:
            namespace, rest = rest[1], rest[2:]
        rest += [""] * (3 - len(rest))
        return cls((prefix, rest[0]), namespace, rest[1], rest[2])


class Refusal(Exception):
    """An HTTP error of the fake."""

    def __init__(self, code: int, reason: str, message: str = "", headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.code, self.reason, self.message, self.headers = code, reason, message or reason, headers or {}

    def body(self) -> Object:
        return {
            "kind": "Status",
            "apiVersion": "v1",
            "status": "Failure",
            "code": self.code,
            "reason": self.reason,
            "message": self.message,
        }


@dataclass
class Entry:
    version: int
    type: str
    kind: tuple[str, str]
    object: Object


@dataclass
class State:
    objects: dict[tuple[str, str], dict[tuple[str, str], Object]] = field(default_factory=dict)
    history: list[Entry] = field(default_factory=list)
    version: int = 100
    compacted: int = 0
    watchers: set[int] = field(default_factory=set)


class FakeApi:
    """The server and what a test may do to it."""

    def __init__(self) -> None:
        self.state = State()
        self.changed = threading.Condition()
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.bodies: list[tuple[str, str, Any]] = []
        self.frozen = False
        self.closing = False
        self._failures: list[tuple[str, str, Refusal]] = []
        self._server = _Server(("127.0.0.1", 0), _Handler)
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
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def session(self) -> Session:
        return Session(self.url)

    # What a test does to the world.

    def create(self, path: str, body: Object) -> Object:
        """POSTs from the outside."""
        with self.changed:
            return self._create(Address.parse(path), body)

    def get(self, path: str) -> Object | None:
        """The object now."""
        address = Address.parse(path)
        with self.changed:
            return copy.deepcopy(self.state.objects.get(address.kind, {}).get((address.namespace, address.name)))

    def list(self, path: str) -> list[Object]:
        """All objects of a collection path."""
        address = Address.parse(path)
        with self.changed:
            return copy.deepcopy(list(self._selected(address, {})))

    def merge(self, path: str, body: Object) -> Object:
        """Merge-patches from the outside; also status."""
        with self.changed:
            address = Address.parse(path)
            return self._store(address, _merged(self._found(address), body), "MODIFIED")

    def delete(self, path: str) -> None:
        """Deletes at once."""
        with self.changed:
            self._delete(Address.parse(path))

    def compact(self) -> None:
        """Watches from before now get 410, and so do those that run."""
        with self.changed:
            self.state.version += 1
            self.state.compacted = self.state.version
            self.state.history.clear()
            self.changed.notify_all()

    def bookmark(self, kind: tuple[str, str]) -> int:
        """Sends a bookmark to the watchers of a kind; returns its resourceVersion."""
        with self.changed:
            self.state.version += 1
            bookmark = {"metadata": {"resourceVersion": str(self.state.version)}}
            self.state.history.append(Entry(self.state.version, "BOOKMARK", kind, bookmark))
            self.changed.notify_all()
            return self.state.version

    def replay(self, kind: tuple[str, str], type: str, body: Object) -> None:
        """Sends a watch event as it is, e.g. one that comes late with an old resourceVersion."""
        with self.changed:
            self.state.version += 1
            self.state.history.append(Entry(self.state.version, type, kind, body))
            self.changed.notify_all()

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
            assert self.changed.wait_for(lambda: len(self.state.watchers) >= count, timeout_s), "no watch came"

    # What requests do.

    def take_failure(self, method: str, path: str) -> Refusal | None:
        for index, (wanted, part, refusal) in enumerate(self._failures):
            if wanted == method and part in path:
                del self._failures[index]
                return refusal
        return None

    def answer(self, method: str, address: Address, query: dict[str, str], body: Any, content_type: str) -> Object:
        if method == "GET":
            return self._page(address, query) if not address.name else copy.deepcopy(self._read(address))
        if method == "POST":
            return self._create(address, body)
        if method == "PUT":
            return self._put(address, body)
        if method == "PATCH":
            return self._patch(address, body, content_type)
        return self._delete(address)

    def _found(self, address: Address) -> Object:
        found = self.state.objects.get(address.kind, {}).get((address.namespace, address.name))
        if found is None:
            raise Refusal(404, "NotFound", f"{address.kind[1]} {address.name!r} not found")
        return found

    def _read(self, address: Address) -> Object:
        found = self._found(address)
        if address.subresource == "log":
            # One line of JSON, as our processes log.
            line: Object = found["log"]
            return line
        if address.subresource != "scale":
            return found
        replicas = found.get("spec", {}).get("replicas", 0)
        return {"metadata": found["metadata"], "spec": {"replicas": replicas}}

    def _selected(self, address: Address, query: dict[str, str]) -> Iterator[Object]:
        for (namespace, _), each in sorted(self.state.objects.get(address.kind, {}).items()):
            if address.namespace in ("", namespace) and selected(each, query):
                yield each

    def _page(self, address: Address, query: dict[str, str]) -> Object:
        items = list(self._selected(address, query))
        start, limit = int(query.get("continue", "0")), int(query.get("limit", "0")) or len(items) + 1
        metadata = {"resourceVersion": str(self.state.version)}
        if start + limit < len(items):
            metadata["continue"] = str(start + limit)
        return {"kind": "List", "metadata": metadata, "items": copy.deepcopy(items[start : start + limit])}

    def _create(self, address: Address, body: Object) -> Object:
        body = copy.deepcopy(body)
        metadata = body.setdefault("metadata", {})
        name = metadata.setdefault("name", metadata.get("generateName", "") + uuid.uuid4().hex[:5])
        namespace = address.namespace or metadata.get("namespace", "")
        address = Address(address.kind, namespace, name, "")
        if (namespace, name) in self.state.objects.get(address.kind, {}):
            raise Refusal(409, "AlreadyExists", f"{address.kind[1]} {name!r} already exists")
        if namespace:
            metadata["namespace"] = namespace
        metadata.setdefault("uid", str(uuid.uuid4()))
        metadata.setdefault("generation", 1)
        metadata.setdefault("creationTimestamp", datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))
        return self._store(address, body, "ADDED")

    def _put(self, address: Address, body: Object) -> Object:
        found = self._found(address)
        sent = body.get("metadata", {}).get("resourceVersion")
        if sent and sent != found["metadata"]["resourceVersion"]:
            raise Refusal(409, "Conflict", "the object has been modified")
        if address.subresource == "status":
            return self._store(address, {**found, "status": body.get("status", {})}, "MODIFIED")
        metadata = {**body.get("metadata", {}), "uid": found["metadata"]["uid"]}
        return self._store(address, {**body, "metadata": metadata}, "MODIFIED")

    def _patch(self, address: Address, body: Any, content_type: str) -> Object:
        if "apply-patch" in content_type and (address.namespace, address.name) not in self.state.objects.get(
            address.kind, {}
        ):
            return self._create(Address(address.kind, address.namespace, "", ""), body)
        target = copy.deepcopy(self._read(address))
        if "json-patch" in content_type:
            try:
                changed = jsonpatch.apply_patch(target, body)
            except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException) as error:
                raise Refusal(422, "Invalid", f"the server rejected our request: {error}") from error
        else:
            changed = _merged(target, body)
        if address.subresource == "scale":
            found = self._found(address)
            changed = {**found, "spec": {**found.get("spec", {}), "replicas": changed["spec"]["replicas"]}}
        return self._store(address, changed, "MODIFIED")

    def _delete(self, address: Address) -> Object:
        found = self._found(address)
        del self.state.objects[address.kind][address.namespace, address.name]
        self._record(address.kind, "DELETED", found)
        return {"kind": "Status", "status": "Success"}

    def _store(self, address: Address, body: Object, type: str) -> Object:
        self._record(address.kind, type, body := copy.deepcopy(body))
        self.state.objects.setdefault(address.kind, {})[address.namespace, address.name] = body
        return copy.deepcopy(body)

    def _record(self, kind: tuple[str, str], type: str, body: Object) -> None:
        self.state.version += 1
        body["metadata"] = {**body["metadata"], "resourceVersion": str(self.state.version)}
        self.state.history.append(Entry(self.state.version, type, kind, copy.deepcopy(body)))
        self.changed.notify_all()


def _merged(target: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = _merged(result.get(key), value)
    return result


def selected(body: Object, query: dict[str, str]) -> bool:
    """Equality, inequality and existence terms of labelSelector and fieldSelector."""
    labels = body.get("metadata", {}).get("labels", {})
    for term in filter(None, query.get("labelSelector", "").split(",")):
        key, has_value, value = term.replace("==", "=").partition("=")
        if has_value and key.endswith("!"):
            holds = labels.get(key[:-1]) != value
        elif has_value:
            holds = labels.get(key) == value
        else:
            holds = key[1:] not in labels if key.startswith("!") else key in labels
        if not holds:
            return False
    for term in filter(None, query.get("fieldSelector", "").split(",")):
        key, _, value = term.partition("=")
        found: Any = body
        for part in key.split("."):
            found = found.get(part, "") if isinstance(found, dict) else ""
        if str(found) != value:
            return False
    return True


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
                answer = api.answer(self.command, Address.parse(url.path), query, body, content_type)
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
            api.state.watchers.add(id(self))
            api.changed.notify_all()
        try:
            while time.monotonic() < ends_at and not api.closing:
                with api.changed:
                    if seen < api.state.compacted:
                        gone = Refusal(410, "Expired", "too old resource version")
                        self._line("ERROR", gone.body())
                        break
                    fresh = [] if api.frozen else [e for e in api.state.history if e.version > seen]
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
                api.state.watchers.discard(id(self))

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
