"""Adapter cluster: what a request to the API server can end in, by the party at fault. Imports nothing of ours.

ClusterError
├── NotFound          404
├── Conflict          409: somebody else wrote first, or the object exists already
├── Gone              410: the resourceVersion is too old, list again
├── TooManyRequests   429: come back in ``retry_after_s``
├── Refused           any other 4xx: the server understood and said no (a failed JSON patch ``test`` is 422 here)
└── Unreachable       no answer, a broken answer, or a 5xx
    └── NotReached    no connection: nothing was asked of anybody
"""

from __future__ import annotations


class ClusterError(Exception):
    """A request that did not succeed. ``status`` is 0 where there was no HTTP answer."""

    def __init__(self, message: str, *, status: int = 0, reason: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.reason = reason


class NotFound(ClusterError):
    """The object, or its kind, is not there."""


class Conflict(ClusterError):
    """The object changed since it was read (reason Conflict) or exists already (reason AlreadyExists)."""


class Gone(ClusterError):
    """The resourceVersion asked for has been compacted away."""


class Refused(ClusterError):
    """The request is not allowed or not valid; repeating it unchanged will not help."""


class TooManyRequests(ClusterError):
    """The server asks for patience."""

    def __init__(self, message: str, *, retry_after_s: float, status: int = 429, reason: str = "") -> None:
        super().__init__(message, status=status, reason=reason)
        self.retry_after_s = retry_after_s


class Unreachable(ClusterError):
    """Whether the request was carried out is not known."""


class NotReached(Unreachable):
    """The request was not carried out: there was nobody to send it to."""


_BY_STATUS: dict[int, type[ClusterError]] = {404: NotFound, 409: Conflict, 410: Gone}


def to_error(status: int, message: str, *, reason: str = "", retry_after_s: float = 1.0) -> ClusterError:
    """The error for an HTTP status of 400 or more."""
    if status == 429:
        return TooManyRequests(message, retry_after_s=retry_after_s, status=status, reason=reason)
    if status >= 500:
        return Unreachable(message, status=status, reason=reason)
    return _BY_STATUS.get(status, Refused)(message, status=status, reason=reason)
