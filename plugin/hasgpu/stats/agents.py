"""Adapter stats: keeps asking each node agent for the applied truth of its slices, by long poll over mutual TLS.

A report is told as soon as an applied generation changes, else once a second. Silence is not an empty node:
``heard_at`` says when each agent was last heard.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from hasgpu.model.report import NodeReport

from .http_get import HttpClient, HttpError

log = logging.getLogger(__name__)

AGENT_TLS_NAME = "hasgpu-agent"
_WAIT_S = 1
_TIMEOUT_S = 3.0
_RETRY_S = 1.0
_MAX_BODY_BYTES = 4 << 20

OnReport = Callable[[NodeReport, float], None]


def agent_tls(folder: Path) -> ssl.SSLContext:
    """The client side of mutual TLS from a mounted Secret: tls.crt, tls.key, ca.crt."""
    context = ssl.create_default_context(cafile=str(folder / "ca.crt"))
    context.load_cert_chain(folder / "tls.crt", folder / "tls.key")
    return context


class Agents:
    """Lives on one event loop: one poll per agent. ``on_report`` is called there and must be quick."""

    def __init__(self, on_report: OnReport, tls: Callable[[], ssl.SSLContext], clock: Callable[[], float]) -> None:
        self._on_report = on_report
        self._tls = tls
        self._clock = clock
        self._polls: dict[str, asyncio.Task[None]] = {}
        self._heard_at: dict[str, float] = {}

    def follow(self, addresses: set[str]) -> None:
        """Polls exactly these agents (host:port) from now on."""
        for gone in self._polls.keys() - addresses:
            self._polls.pop(gone).cancel()
            self._heard_at.pop(gone, None)
        for address in addresses - self._polls.keys():
            self._polls[address] = asyncio.get_running_loop().create_task(self._poll(address))

    @property
    def heard_at(self) -> Mapping[str, float]:
        """When each agent last answered; one that never did is missing."""
        return self._heard_at

    async def stop(self) -> None:
        """Ends all polls."""
        polls = list(self._polls.values())
        self.follow(set())
        await asyncio.gather(*polls, return_exceptions=True)

    async def _poll(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        revision, client = 0, None
        while True:
            try:
                # A new context for each connection attempt: the mounted certificate is renewed from time to time.
                client = client or HttpClient(
                    max_body_bytes=_MAX_BODY_BYTES, tls=self._tls(), server_name=AGENT_TLS_NAME
                )
                path = f"/v1/slices?after={revision}&timeout={_WAIT_S}s"
                answer = await client.get(host.strip("[]"), int(port), path, timeout_s=_TIMEOUT_S)
                if answer.status != 200:
                    raise HttpError(f"{address}: HTTP {answer.status}: {answer.body[:200]!r}")
                report = msgspec.json.decode(answer.body, type=NodeReport)
            except (OSError, ValueError) as error:
                log.warning("agent %s: %s", address, error)
                if client is not None:
                    client.close()
                revision, client = 0, None
                await asyncio.sleep(_RETRY_S)
                continue
            self._heard_at[address] = now = self._clock()
            revision = report.revision
            self._on_report(report, now)
