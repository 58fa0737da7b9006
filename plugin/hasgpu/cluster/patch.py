"""Adapter cluster: the ways to write. A failed precondition is told to the caller, who decides again.

JSON patch: a failed ``test`` comes back as Refused with status 422. Status writes re-read on conflict, since there the
caller hands over how to change, not what to write.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import msgspec

from .errors import Conflict
from .session import APPLY_PATCH, JSON_PATCH, MERGE_PATCH, Session


class Op(msgspec.Struct, frozen=True, omit_defaults=True, rename={"from_": "from"}):
    """One RFC 6902 operation."""

    op: Literal["add", "replace", "remove", "test", "move", "copy"]
    path: str
    value: Any = msgspec.UNSET
    from_: str | msgspec.UnsetType = msgspec.UNSET


def pointer(*tokens: str | int) -> str:
    """A JSON pointer of unescaped tokens: ``pointer("metadata", "annotations", "a/b")``."""
    return "".join("/" + str(token).replace("~", "~0").replace("/", "~1") for token in tokens)


def add(path: str, value: Any) -> Op:
    """Adds, or replaces an existing member."""
    return Op(op="add", path=path, value=value)


def replace(path: str, value: Any) -> Op:
    """Replaces what must exist."""
    return Op(op="replace", path=path, value=value)


def remove(path: str) -> Op:
    """Removes what must exist."""
    return Op(op="remove", path=path)


def test(path: str, value: Any) -> Op:
    """The whole patch fails (Refused, 422) unless ``path`` holds ``value``."""
    return Op(op="test", path=path, value=value)


def json_patch(
    session: Session,
    path: str,
    ops: Sequence[Op],
    *,
    query: Mapping[str, str] | None = None,
    timeout_s: float = 10.0,
) -> bytes:
    """RFC 6902; returns the object as it is now."""
    return session.request("PATCH", path, query=query, body=list(ops), content_type=JSON_PATCH, timeout_s=timeout_s)


def merge_patch(session: Session, path: str, body: Mapping[str, Any], *, timeout_s: float = 10.0) -> bytes:
    """RFC 7386; returns the object as it is now."""
    return session.request("PATCH", path, body=dict(body), content_type=MERGE_PATCH, timeout_s=timeout_s)


def server_side_apply(
    session: Session, path: str, body: Mapping[str, Any], *, field_manager: str, force: bool = True
) -> bytes:
    """Server-side apply: ``body`` holds exactly the fields that ``field_manager`` wants to own."""
    query = {"fieldManager": field_manager, "force": "true" if force else "false"}
    return session.request("PATCH", path, query=query, body=dict(body), content_type=APPLY_PATCH, timeout_s=30.0)


def put_status(
    session: Session,
    path: str,
    change: Callable[[dict[str, Any]], dict[str, Any] | None],
    *,
    attempts: int = 5,
) -> bool:
    """Writes ``change(object)`` as the status of the object at ``path``; None from it means: leave it. Did it write?"""
    for attempt in range(attempts):
        found = session.get(path, dict)
        status = change(found)
        if status is None or status == found.get("status"):
            return False
        try:
            session.request("PUT", f"{path}/status", body={**found, "status": status})
        except Conflict:
            if attempt == attempts - 1:
                raise
            continue
        return True
    return False
