"""Objects as an API server keeps them: by resourceVersion, with a history that watches read. No HTTP.

It serves list (with continue), POST, PUT (with conflicts), JSON and merge patch, `status` and `scale`, label and field
selectors. It validates nothing.
"""

from __future__ import annotations

import copy
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import jsonpatch

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


class ObjectStore:
    """Used under ``changed``, which is told of each change."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], dict[tuple[str, str], Object]] = {}
        self.history: list[Entry] = []
        self.version = 100
        self.compacted = 0
        self.changed = threading.Condition()

    def merge(self, address: Address, body: Object) -> Object:
        """A merge patch; also of status."""
        return self._store(address, _merged(self._found(address), body), "MODIFIED")

    def selected(self, address: Address, query: dict[str, str]) -> Iterator[Object]:
        """Objects of a collection, by name."""
        for (namespace, _), each in sorted(self.objects.get(address.kind, {}).items()):
            if address.namespace in ("", namespace) and selected(each, query):
                yield each

    def compact(self) -> None:
        """Nobody can read on from before now."""
        self.version += 1
        self.compacted = self.version
        self.history.clear()
        self.changed.notify_all()

    def tell(self, kind: tuple[str, str], type: str, body: Object) -> int:
        """An entry of the history as it is; its version."""
        self.version += 1
        self.history.append(Entry(self.version, type, kind, body))
        self.changed.notify_all()
        return self.version

    def answer(self, method: str, address: Address, query: dict[str, str], body: Any, content_type: str) -> Object:
        if method == "GET":
            return self._page(address, query) if not address.name else copy.deepcopy(self._read(address))
        if method == "POST":
            return self.create(address, body)
        if method == "PUT":
            return self._put(address, body)
        if method == "PATCH":
            return self._patch(address, body, content_type)
        return self.delete(address)

    def _found(self, address: Address) -> Object:
        found = self.objects.get(address.kind, {}).get((address.namespace, address.name))
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

    def _page(self, address: Address, query: dict[str, str]) -> Object:
        items = list(self.selected(address, query))
        start, limit = int(query.get("continue", "0")), int(query.get("limit", "0")) or len(items) + 1
        metadata = {"resourceVersion": str(self.version)}
        if start + limit < len(items):
            metadata["continue"] = str(start + limit)
        return {"kind": "List", "metadata": metadata, "items": copy.deepcopy(items[start : start + limit])}

    def create(self, address: Address, body: Object) -> Object:
        body = copy.deepcopy(body)
        metadata = body.setdefault("metadata", {})
        name = metadata.setdefault("name", metadata.get("generateName", "") + uuid.uuid4().hex[:5])
        namespace = address.namespace or metadata.get("namespace", "")
        address = Address(address.kind, namespace, name, "")
        if (namespace, name) in self.objects.get(address.kind, {}):
            raise Refusal(409, "AlreadyExists", f"{address.kind[1]} {name!r} already exists")
        if namespace:
            metadata["namespace"] = namespace
        metadata.setdefault("uid", str(uuid.uuid4()))
        metadata.setdefault("generation", 1)
        metadata.setdefault("creationTimestamp", datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))
        return self._store(address, body, "ADDED")

    def _put(self, address: Address, body: Object) -> Object:
        found = self._found(address)
        _require_version(found, body)
        if address.subresource == "status":
            return self._store(address, {**found, "status": body.get("status", {})}, "MODIFIED")
        metadata = {**body.get("metadata", {}), "uid": found["metadata"]["uid"]}
        return self._store(address, {**body, "metadata": metadata}, "MODIFIED")

    def _patch(self, address: Address, body: Any, content_type: str) -> Object:
        if "apply-patch" in content_type and (address.namespace, address.name) not in self.objects.get(
            address.kind, {}
        ):
            return self.create(Address(address.kind, address.namespace, "", ""), body)
        target = copy.deepcopy(self._read(address))
        if "json-patch" in content_type:
            try:
                changed = jsonpatch.apply_patch(target, body)
            except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException) as error:
                raise Refusal(422, "Invalid", f"the server rejected our request: {error}") from error
        else:
            _require_version(target, body)
            changed = _merged(target, body)
        if address.subresource == "scale":
            found = self._found(address)
            changed = {**found, "spec": {**found.get("spec", {}), "replicas": changed["spec"]["replicas"]}}
        return self._store(address, changed, "MODIFIED")

    def delete(self, address: Address) -> Object:
        found = self._found(address)
        del self.objects[address.kind][address.namespace, address.name]
        self._record(address.kind, "DELETED", found)
        return {"kind": "Status", "status": "Success"}

    def _store(self, address: Address, body: Object, type: str) -> Object:
        self._record(address.kind, type, body := copy.deepcopy(body))
        self.objects.setdefault(address.kind, {})[address.namespace, address.name] = body
        return copy.deepcopy(body)

    def _record(self, kind: tuple[str, str], type: str, body: Object) -> None:
        body["metadata"] = {**body["metadata"], "resourceVersion": str(self.version + 1)}
        self.tell(kind, type, copy.deepcopy(body))


def _require_version(found: Object, sent: Object) -> None:
    """Who sends a resourceVersion means the object as it was then."""
    version = sent.get("metadata", {}).get("resourceVersion")
    if version and version != found["metadata"]["resourceVersion"]:
        raise Refusal(409, "Conflict", "the object has been modified")


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
