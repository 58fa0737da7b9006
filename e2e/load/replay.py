"""Sends arrivals when they are due and records what came back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import aiohttp

from .arrivals import Arrival


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where a function is reached: an address, and the Host header by which the ingress knows it."""

    url: str
    host: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One request. Latency counts from the moment it was *due*, so a late sender hides nothing."""

    function: str
    due_s: float
    latency_s: float
    status: int
    """HTTP status; 0 where no answer came."""
    error: str

    @property
    def ok(self) -> bool:
        """True for an answer of the 200 family."""
        return 200 <= self.status < 300


async def replay(
    arrivals: Sequence[Arrival],
    targets: Mapping[str, Target],
    *,
    timeout_s: float = 60.0,
    on_outcome: Callable[[Outcome], None] | None = None,
    started_at: float | None = None,
) -> list[Outcome]:
    """Replay open loop; returns one outcome an arrival, in order of completion.

    ``started_at`` is the time.monotonic() that offsets count from; default now.
    """
    begin = time.monotonic() if started_at is None else started_at
    outcomes: list[Outcome] = []
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=15)
    async with aiohttp.ClientSession(
        connector=connector, timeout=aiohttp.ClientTimeout(total=timeout_s), trust_env=False
    ) as session:

        async def send(arrival: Arrival) -> None:
            outcome = await _request(session, targets[arrival.function], arrival, begin)
            outcomes.append(outcome)
            if on_outcome:
                on_outcome(outcome)

        async with asyncio.TaskGroup() as group:
            for arrival in arrivals:
                await asyncio.sleep(max(0.0, begin + arrival.due_s - time.monotonic()))
                group.create_task(send(arrival))
    return outcomes


async def _request(session: aiohttp.ClientSession, target: Target, arrival: Arrival, begin: float) -> Outcome:
    status, error = 0, ""
    try:
        async with session.get(target.url, headers={"Host": target.host}) as answer:
            body = await answer.read()
            status = answer.status
            if status >= 300:
                error = body[:200].decode(errors="replace")
    except (aiohttp.ClientError, TimeoutError, OSError) as failure:
        error = f"{type(failure).__name__}: {failure}"
    return Outcome(
        function=arrival.function,
        due_s=arrival.due_s,
        latency_s=time.monotonic() - begin - arrival.due_s,
        status=status,
        error=error,
    )
