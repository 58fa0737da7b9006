"""Who is meant: a revision, a pod."""

from __future__ import annotations

from typing import NamedTuple


class RevisionKey(NamedTuple):
    """Namespace and name of a Revision; its PodAutoscaler and SKS bear the same name.

    A tuple, since each report of load looks several things up by it: a dataclass is hashed ten times slower.
    """

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"

    @classmethod
    def parse(cls, text: str) -> RevisionKey:
        """The inverse of ``str``; raises ValueError where there is no single slash."""
        namespace, slash, name = text.partition("/")
        if not (namespace and slash and name) or "/" in name:
            raise ValueError(f"not a namespace/name key: {text!r}")
        return cls(namespace, name)


class PodKey(NamedTuple):
    """Namespace, name and UID of a pod. A pod of the same name and another UID is another pod.

    A tuple for the same reason: the ledger and the books around it are full of them.
    """

    namespace: str
    name: str
    uid: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"
