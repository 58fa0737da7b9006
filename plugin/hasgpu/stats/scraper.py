"""Adapter stats: asks queue-proxies what they served in the last second. Pods are addressed directly.

Reference: knative/serving pkg/autoscaler/metrics/stats_scraper.go. Service scraping for meshes that hide pods is not
provided: where all scrapes fail there is no data, and then nothing is scaled.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hasgpu.model.keys import RevisionKey
from hasgpu.model.load import StatMessage

from .http_get import HttpClient, HttpError
from .wire import WireError, decode_stat

QUEUE_PROXY_PORT = 9090
SCRAPER_NAME = "service-scraper"
_TIMEOUT_S = 3.0
_MAX_BODY_BYTES = 336
"""A Stat is at most 6 numbers of 10 bytes, a pod name and some change; a peer that sends more is not a queue-proxy."""
_CONTENT_TYPE = "application/protobuf"


class ScrapeError(Exception):
    """Too few pods answered to speak for their revision."""


@dataclass(frozen=True, slots=True)
class Scrapeable:
    """A ready pod."""

    ip: str
    age_s: float


def sample_size(pods: int) -> int:
    """Pods to ask so that the mean is within 5 at 95 % confidence for a variance of 100."""
    if pods <= 3:
        return pods
    wanted = 1.96**2 * 100 / 5**2
    return math.ceil(pods * wanted / (pods + wanted - 1))


class Scraper:
    """Lives on one event loop; connections to queue-proxies are kept."""

    def __init__(self, port: int = QUEUE_PROXY_PORT) -> None:
        self._client = HttpClient(max_body_bytes=_MAX_BODY_BYTES)
        self._port = port

    async def scrape(self, key: RevisionKey, pods: Sequence[Scrapeable], stable_window_s: float) -> StatMessage | None:
        """The revision's load, extrapolated from a sample; None where it has no pod; raises ScrapeError."""
        if not pods:
            return None
        wanted = sample_size(len(pods))
        candidates = _in_order(pods, stable_window_s, wanted)
        asked = iter(candidates)
        results = await asyncio.gather(*(self._first_answer(key, asked) for _ in range(wanted)))
        stats = [stat for stat in results if stat is not None]
        if len(stats) < wanted:
            raise ScrapeError(f"{key}: {len(stats)} of {wanted} pods answered, {len(pods)} are ready")
        return _extrapolated(key, stats, len(pods))

    def keep_only(self, ips: set[str]) -> None:
        """Drops connections to pods that are gone."""
        self._client.keep_only({(ip, self._port) for ip in ips})

    def close(self) -> None:
        """Drops all connections."""
        self._client.close()

    async def _first_answer(self, key: RevisionKey, candidates: Iterator[Scrapeable]) -> StatMessage | None:
        for pod in candidates:  # one iterator shared by all workers of a scrape
            answer = await self._one(key, pod)
            if answer is not None:
                return answer
        return None

    async def _one(self, key: RevisionKey, pod: Scrapeable) -> StatMessage | None:
        try:
            answer = await self._client.get(
                pod.ip, self._port, "/metrics", headers={"Accept": _CONTENT_TYPE}, timeout_s=_TIMEOUT_S
            )
            if not 200 <= answer.status < 300 or answer.headers.get("content-type") != _CONTENT_TYPE:
                return None
            return decode_stat(key, answer.body)
        except (HttpError, WireError):
            return None


def _in_order(pods: Sequence[Scrapeable], stable_window_s: float, wanted: int) -> list[Scrapeable]:
    """Old pods first, since a young one does not have its share of the load yet; shuffled where there is a choice."""
    old = [pod for pod in pods if pod.age_s >= stable_window_s]
    young = [pod for pod in pods if pod.age_s < stable_window_s]
    random.shuffle(young if len(old) < wanted else old)
    return old + young


def _extrapolated(key: RevisionKey, stats: Sequence[StatMessage], pods: int) -> StatMessage:
    sample = float(len(stats))
    return StatMessage(
        key=key,
        pod_name=SCRAPER_NAME,
        average_concurrent_requests=sum(s.average_concurrent_requests for s in stats) / sample * pods,
        average_proxied_concurrent_requests=sum(s.average_proxied_concurrent_requests for s in stats) / sample * pods,
        request_count=sum(s.request_count for s in stats) / sample * pods,
        proxied_request_count=sum(s.proxied_request_count for s in stats) / sample * pods,
        process_uptime_s=0.0,
        timestamp_s=0.0,
    )
