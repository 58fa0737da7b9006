"""Adapter cluster: one authenticated connection pool to an API server. Knows bytes and paths, no kinds.

Outside a pod configuration, authentication and TLS are the kubernetes client's; requests go straight to its urllib3
pool, since the client's models cost eighty times what msgspec costs for the same list.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar
from urllib.parse import urlencode

import msgspec
import urllib3

from . import service_account
from .errors import ClusterError, NotReached, Unreachable, to_error
from .service_account import ServiceAccount

T = TypeVar("T")

JSON = "application/json"
JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"

_KUBECONFIG = "~/.kube/config"
_CONNECT_TIMEOUT_S = 5.0
# Every watch holds a connection of its own; beyond this many urllib3 discards instead of blocking.
_POOL_SIZE = 64
_IDLE_S, _PROBE_EVERY_S, _PROBES = 15, 10, 3
"""A host that vanished without a word is known to be gone after three quarters of a minute, as with client-go."""


class _Status(msgspec.Struct):
    """The part of a metav1.Status that an error message is made of."""

    message: str = ""
    reason: str = ""
    code: int = 0


class Stream:
    """An endless answer, line by line. ``close`` may be called from another thread and ends the iteration."""

    def __init__(self, response: urllib3.BaseHTTPResponse) -> None:
        self._response = response
        self._closed = False

    def __iter__(self) -> Iterator[bytes]:
        buffered = b""
        try:
            for chunk in self._response.stream(65536):
                lines = (buffered + chunk).split(b"\n")
                buffered = lines.pop()
                yield from (line for line in lines if line)
        except (urllib3.exceptions.HTTPError, OSError, ValueError, AttributeError) as error:
            # A socket that close() shut under the reader surfaces as any of these.
            if not self._closed:
                raise Unreachable(f"watch broke: {error}") from error
        finally:
            self._response.close()

    def close(self) -> None:
        """Wakes a reader that is blocked in the socket: it sees the end of the stream."""
        self._closed = True
        connection: Any = getattr(self._response, "connection", None)
        sock = getattr(connection, "sock", None)
        if sock is not None:
            # SSLSocket.shutdown would drop the TLS object that the reader still uses; the plain one only ends the TCP.
            with contextlib.suppress(OSError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Session:
    """Requests to one API server; safe to share between threads."""

    def __init__(
        self,
        host: str,
        *,
        pool: urllib3.PoolManager | None = None,
        authorization: Callable[[], str | None] | None = None,
        user_agent: str = "hasgpu",
    ) -> None:
        self.host = host.rstrip("/")
        self._pool = pool or urllib3.PoolManager(maxsize=_POOL_SIZE)
        self._authorization = authorization or (lambda: None)
        self._authorization_lock = threading.Lock()
        self._user_agent = user_agent

    @classmethod
    def connect(cls, context: str | None = None, *, user_agent: str = "hasgpu") -> Session:
        """In a pod: its ServiceAccount. Elsewhere: KUBECONFIG (or the default file) and ``context`` in it."""
        named = os.environ.get("KUBECONFIG")
        if context is None and not named and service_account.HOST in os.environ:
            return cls.in_pod(ServiceAccount(os.environ), user_agent=user_agent)
        # Imported late: it costs 0.2 s and 14 MB that a pod, or a command which talks to no cluster, should not pay.
        from kubernetes import client, config
        from kubernetes.client.rest import RESTClientObject

        configuration = client.Configuration()
        configuration.connection_pool_maxsize = _POOL_SIZE
        configuration.keep_alive = True
        loader: Any = config  # untyped
        source = f"KUBECONFIG={named}" if named else f"{_KUBECONFIG}, since KUBECONFIG is not set"
        try:
            # Named here, since the client asks the environment when it is imported.
            loader.load_kube_config(named or _KUBECONFIG, context=context, client_configuration=configuration)
        except Exception as error:  # of a file that is no kubeconfig: whatever Python makes of it
            raise Unreachable(f"no cluster to talk to by {source}: {' '.join(str(error).split())}") from error

        def authorization() -> str | None:
            bearer = configuration.auth_settings().get("BearerToken")
            return None if bearer is None else bearer["value"]

        pool = RESTClientObject(configuration).pool_manager
        return cls(configuration.host, pool=pool, authorization=authorization, user_agent=user_agent)

    @classmethod
    def in_pod(cls, account: ServiceAccount, *, user_agent: str = "hasgpu") -> Session:
        """As a pod speaks to its API server."""
        pool = urllib3.PoolManager(
            maxsize=_POOL_SIZE,
            cert_reqs="CERT_REQUIRED",
            ca_certs=str(account.ca_file),
            socket_options=[
                *urllib3.connection.HTTPConnection.default_socket_options,
                (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
                (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _IDLE_S),
                (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _PROBE_EVERY_S),
                (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _PROBES),
            ],
        )
        return cls(account.url, pool=pool, authorization=account.authorization, user_agent=user_agent)

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        content_type: str | None = None,
        timeout_s: float = 10.0,
    ) -> bytes:
        """The answer's body; raises a ClusterError for anything but success. ``body`` is bytes or encodable."""
        payload = body if body is None or isinstance(body, bytes) else msgspec.json.encode(body)
        headers = {"Content-Type": content_type or JSON} if payload is not None else {}
        timeout = urllib3.Timeout(connect=min(_CONNECT_TIMEOUT_S, timeout_s), read=timeout_s)
        response = self._open(method, path, query, payload, headers, timeout, preload=True)
        return response.data

    def get(self, path: str, type: type[T], *, query: Mapping[str, str] | None = None, timeout_s: float = 10.0) -> T:
        """GET and decode."""
        return decode(self.request("GET", path, query=query, timeout_s=timeout_s), type)

    def stream(self, path: str, query: Mapping[str, str], *, read_timeout_s: float = 330.0) -> Stream:
        """A watch: a line each event. A read without any byte for ``read_timeout_s`` raises Unreachable."""
        timeout = urllib3.Timeout(connect=_CONNECT_TIMEOUT_S, read=read_timeout_s)
        return Stream(self._open("GET", path, query, None, {}, timeout, preload=False))

    def _open(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        payload: bytes | None,
        headers: dict[str, str],
        timeout: urllib3.Timeout,
        *,
        preload: bool,
    ) -> urllib3.BaseHTTPResponse:
        url = f"{self.host}{path}" + (f"?{urlencode(query)}" if query else "")
        headers = {"Accept": JSON, "User-Agent": self._user_agent, **headers}
        try:
            with self._authorization_lock:
                token = self._authorization()
            if token:
                headers["Authorization"] = token
            response = self._pool.request(
                method, url, body=payload, headers=headers, timeout=timeout, retries=False, preload_content=preload
            )
            if response.status >= 400:
                raise _refusal(method, path, response)
        except (urllib3.exceptions.NewConnectionError, urllib3.exceptions.ConnectTimeoutError) as error:
            raise NotReached(f"{method} {path}: {error}") from error
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise Unreachable(f"{method} {path}: {error}") from error
        return response


def decode(data: bytes, type: type[T]) -> T:
    """Bytes of the server as ``type``; a ClusterError where they are not."""
    try:
        return msgspec.json.decode(data, type=type)
    except msgspec.MsgspecError as error:
        raise ClusterError(f"answer is not a {getattr(type, '__name__', type)}: {error}") from error


def _refusal(method: str, path: str, response: urllib3.BaseHTTPResponse) -> ClusterError:
    data = response.data
    try:
        status = msgspec.json.decode(data, type=_Status)
    except msgspec.MsgspecError:
        status = _Status(message=data[:200].decode("utf-8", "replace").strip())
    try:
        retry_after_s = float(response.headers.get("Retry-After", "1"))
    except ValueError:
        retry_after_s = 1.0
    message = f"{method} {path}: {response.status} {status.message}"
    return to_error(response.status, message, reason=status.reason, retry_after_s=retry_after_s)
