"""Adapter stats: kept connections to queue-proxies, asked and answered by callback on one event loop.

No coroutine, task or timer for a single question: at thousands of questions a second these cost more than the sockets.
HTTP/1.1 with Content-Length answers only: that is what queue-proxies send. Anything else is no answer.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable

TIMEOUT_S = 3.0
MAX_BODY_BYTES = 336
"""A Stat is at most 6 numbers of 10 bytes, a pod name and some change; a peer that sends more is not a queue-proxy."""

_CONTENT_TYPE = b"application/protobuf"
_IDLE_S = 10.0
_MAX_HEAD_BYTES = 16 << 10
_READ_BYTES = 4 << 10
_LENGTH = re.compile(rb"\r\nContent-Length: *([0-9]{1,9})\r\n", re.IGNORECASE)
_TYPE = re.compile(rb"\r\nContent-Type: *([^\r]*?) *\r\n", re.IGNORECASE)
_CLOSE = re.compile(rb"\r\nConnection: *close\r\n", re.IGNORECASE)

OnAnswer = Callable[[bytes | None], None]
"""Is given the body, or None where there is no usable answer; called exactly once for each question."""


class QueueProxies:
    """At most one connection and one question for each address at a time. What is not asked for a while is dropped."""

    def __init__(self, port: int, timeout_s: float = TIMEOUT_S) -> None:
        self._port, self._timeout_s = port, timeout_s
        self._sweep_s = timeout_s / 6
        self._peers: dict[str, _Peer] = {}
        # What one read takes is looked at before the next: one buffer does for all, where each would need a new one.
        self._buffer = memoryview(bytearray(_READ_BYTES))
        self._sweeping: asyncio.TimerHandle | None = None

    def ask(self, ip: str, on_answer: OnAnswer) -> None:
        """One question; a kept connection that turns out closed is replaced once."""
        peer = self._peers.get(ip)
        if peer is None:
            peer = self._peers[ip] = _Peer(ip, self._port, self._buffer)
        peer.ask(on_answer)
        if self._sweeping is None:
            self._sweeping = asyncio.get_running_loop().call_later(self._sweep_s, self._sweep)

    def close(self) -> None:
        """Drops all connections; who waits for an answer gets none."""
        if self._sweeping is not None:
            self._sweeping.cancel()
            self._sweeping = None
        peers, self._peers = self._peers, {}
        for peer in peers.values():
            peer.give_up()

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        for peer in list(self._peers.values()):
            if peer.waiting and now - peer.asked_at > self._timeout_s:
                peer.give_up()
            elif not peer.waiting and now - peer.asked_at > _IDLE_S:
                del self._peers[peer.ip]
                peer.give_up()
        self._sweeping = loop.call_later(self._sweep_s, self._sweep) if self._peers else None


class _Peer(asyncio.BufferedProtocol):
    """The connection to one pod."""

    __slots__ = (
        "_begun",
        "_buffer",
        "_connecting",
        "_fresh",
        "_on_answer",
        "_port",
        "_request",
        "_transport",
        "asked_at",
        "ip",
    )

    def __init__(self, ip: str, port: int, buffer: memoryview) -> None:
        self.ip, self._port, self._buffer = ip, port, buffer
        self._request = (
            f"GET /metrics HTTP/1.1\r\nHost: {ip}:{port}\r\nAccept: {_CONTENT_TYPE.decode()}\r\n\r\n".encode()
        )
        self._transport: asyncio.Transport | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._on_answer: OnAnswer | None = None
        self._begun = b""
        """The part of an answer that came so far."""
        self._fresh = True
        """Nothing was answered on this connection yet."""
        self.asked_at = 0.0

    @property
    def waiting(self) -> bool:
        """A question is open."""
        return self._on_answer is not None

    def ask(self, on_answer: OnAnswer) -> None:
        if self._on_answer is not None:
            on_answer(None)
            return
        loop = asyncio.get_running_loop()
        self._on_answer, self.asked_at = on_answer, loop.time()
        if self._transport is not None:
            self._transport.write(self._request)
        elif self._connecting is None:
            self._connecting = loop.create_task(self._connect())

    def give_up(self) -> None:
        """Closes; an open question stays without an answer."""
        if self._connecting is not None:
            self._connecting.cancel()
            self._connecting = None
        self._drop()
        self._settle(None)

    async def _connect(self) -> None:
        try:
            await asyncio.get_running_loop().create_connection(lambda: self, self.ip, self._port)
        except OSError:
            self._settle(None)
        finally:
            if self._connecting is asyncio.current_task():
                self._connecting = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport, self._fresh, self._begun = transport, True, b""
        if self._on_answer is not None:
            transport.write(self._request)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self._transport is None:
            return
        buffer = self._begun + self._buffer[:nbytes]
        head_end = buffer.find(b"\r\n\r\n") + 4
        if max(head_end, len(buffer)) > _MAX_HEAD_BYTES:
            self._fail()
            return
        if head_end < 4:
            self._begun = buffer
            return
        length = _LENGTH.search(buffer, 0, head_end)
        if self._on_answer is None or not buffer.startswith(b"HTTP/1.") or length is None:
            self._fail()
            return
        end = head_end + int(length[1])
        if end - head_end > MAX_BODY_BYTES or len(buffer) > end:
            self._fail()
        elif len(buffer) < end:
            self._begun = buffer
        else:
            self._complete(buffer, head_end)

    def _complete(self, answer: bytes, head_end: int) -> None:
        self._begun, self._fresh = b"", False
        if _CLOSE.search(answer, 0, head_end):
            self._drop()
        kind = _TYPE.search(answer, 0, head_end)
        good = answer[9:10] == b"2" and kind is not None and kind[1] == _CONTENT_TYPE
        self._settle(answer[head_end:] if good else None)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._transport is None:
            return
        kept, self._transport = not self._fresh and not self._begun, None
        if self._on_answer is not None and kept:
            self._connecting = asyncio.get_running_loop().create_task(self._connect())
        else:
            self._settle(None)

    def _fail(self) -> None:
        self._drop()
        self._settle(None)

    def _drop(self) -> None:
        transport, self._transport, self._begun = self._transport, None, b""
        if transport is not None:
            transport.abort()

    def _settle(self, body: bytes | None) -> None:
        on_answer, self._on_answer = self._on_answer, None
        if on_answer is not None:
            on_answer(body)
