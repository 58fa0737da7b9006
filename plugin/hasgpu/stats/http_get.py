"""Adapter stats: GET over kept-alive connections on one event loop, for thousands of peers a second.

HTTP/1.1 with Content-Length answers only: that is what queue-proxies and node agents send. Anything else is an error.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass

_MAX_HEAD_BYTES = 16 << 10


class HttpError(OSError):
    """No usable answer, and why."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Header names are lower-case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(slots=True)
class _Connection:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


class HttpClient:
    """At most one idle connection is kept for each peer."""

    def __init__(self, *, max_body_bytes: int, tls: ssl.SSLContext | None = None, server_name: str = "") -> None:
        self._max_body_bytes = max_body_bytes
        self._tls = tls
        self._server_name = server_name
        self._idle: dict[tuple[str, int], _Connection] = {}

    async def get(
        self, host: str, port: int, path: str, *, headers: Mapping[str, str] | None = None, timeout_s: float
    ) -> Answer:
        """One answer; raises HttpError. A kept connection that turns out closed is replaced once."""
        lines = [f"GET {path} HTTP/1.1", f"Host: {host}:{port}"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        request = ("\r\n".join(lines) + "\r\n\r\n").encode("ascii")
        try:
            async with asyncio.timeout(timeout_s):
                return await self._exchange((host, port), request)
        except TimeoutError as error:
            raise HttpError(f"{host}:{port}{path}: no answer within {timeout_s:g} s") from error
        except (OSError, EOFError, ValueError) as error:
            raise HttpError(f"{host}:{port}{path}: {error}") from error

    def keep_only(self, peers: set[tuple[str, int]]) -> None:
        """Closes idle connections to all other peers."""
        for peer in [peer for peer in self._idle if peer not in peers]:
            self._idle.pop(peer).writer.close()

    def close(self) -> None:
        """Closes all idle connections."""
        self.keep_only(set())

    async def _exchange(self, peer: tuple[str, int], request: bytes) -> Answer:
        kept = self._idle.pop(peer, None)
        if kept is not None:
            try:
                return await self._ask(peer, kept, request)
            except (ConnectionError, EOFError):
                kept.writer.close()
        reader, writer = await asyncio.open_connection(
            *peer, ssl=self._tls, server_hostname=self._server_name if self._tls else None, limit=_MAX_HEAD_BYTES
        )
        return await self._ask(peer, _Connection(reader, writer), request)

    async def _ask(self, peer: tuple[str, int], connection: _Connection, request: bytes) -> Answer:
        try:
            connection.writer.write(request)
            answer = await self._read(connection.reader)
        except BaseException:
            # Also on cancellation: what is half read can't be used again.
            connection.writer.close()
            raise
        if answer.headers.get("connection", "").lower() == "close" or peer in self._idle:
            connection.writer.close()
        else:
            self._idle[peer] = connection
        return answer

    async def _read(self, reader: asyncio.StreamReader) -> Answer:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError as error:
            raise ValueError(f"a head of more than {_MAX_HEAD_BYTES} bytes") from error
        status_line, *lines = head.decode("latin-1").split("\r\n")
        version, _, rest = status_line.partition(" ")
        if not version.startswith("HTTP/1.") or not rest[:3].isdigit():
            raise ValueError(f"not an HTTP answer: {status_line[:80]!r}")
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length = headers.get("content-length", "")
        if not length.isdigit() or int(length) > self._max_body_bytes:
            raise ValueError(f"an answer of Content-Length {length[:20] or 'none'}, at most {self._max_body_bytes}")
        return Answer(int(rest[:3]), headers, await reader.readexactly(int(length)))
