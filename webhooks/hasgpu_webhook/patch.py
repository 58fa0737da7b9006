"""JSON Patch operations written by hand, in order. Pure: knows nothing of pods, services or HTTP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

Path: TypeAlias = tuple[str | int, ...]
Operation: TypeAlias = dict[str, object]


class Patch:
    """Gathers operations against one object; a missing parent is made once, before its first child."""

    def __init__(self) -> None:
        self.operations: list[Operation] = []
        self._made: set[Path] = set()

    def put(self, parent: Path, present: Mapping[str, object] | None, key: str, value: object) -> None:
        """Member ``key`` of the object at ``parent`` becomes ``value``; nothing where it is already."""
        if present is not None and key in present and present[key] == value:
            return
        self._make(parent, present, {})
        self._add((*parent, key), value)

    def drop(self, parent: Path, key: str) -> None:
        """Member ``key`` of the object at ``parent``, known to be there, goes."""
        self.operations.append({"op": "remove", "path": pointer((*parent, key))})

    def append(self, parent: Path, present: Sequence[object] | None, value: object) -> None:
        """``value`` becomes the last item of the list at ``parent``."""
        self._make(parent, present, [])
        self._add((*parent, "-"), value)

    def replace(self, path: Path, value: object) -> None:
        """What is at ``path``, known to be there, becomes ``value``."""
        self.operations.append({"op": "replace", "path": pointer(path), "value": value})

    def _make(self, parent: Path, present: object, empty: object) -> None:
        if present is None and parent not in self._made:
            self._made.add(parent)
            self._add(parent, empty)

    def _add(self, path: Path, value: object) -> None:
        self.operations.append({"op": "add", "path": pointer(path), "value": value})


def pointer(path: Path) -> str:
    """RFC 6901: ``("metadata", "annotations", "a/b")`` is ``/metadata/annotations/a~1b``."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)


def covers(present: object, wanted: object) -> bool:
    """True where ``present`` holds all of ``wanted``.

    The API server fills in defaults and mounts between two calls for one object, so equality would see a
    difference at the second call where we have nothing to add.
    """
    if isinstance(wanted, dict):
        return isinstance(present, dict) and all(
            key in present and covers(present[key], value) for key, value in wanted.items()
        )
    if isinstance(wanted, list):
        return isinstance(present, list) and all(any(covers(item, value) for item in present) for value in wanted)
    return present == wanted
