"""Adapter stats: asks queue-proxies what they served in the last second. Pods are addressed directly.

Reference: knative/serving pkg/autoscaler/metrics/stats_scraper.go. Service scraping for meshes that hide pods is not
provided: where all scrapes fail there is no data, and then nothing is scaled.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from typing import NamedTuple

from hasgpu.model.keys import RevisionKey
from hasgpu.model.load import StatMessage

from .queue_proxies import TIMEOUT_S, QueueProxies
from .wire import WireError, decode_stat

QUEUE_PROXY_PORT = 9090
SCRAPER_NAME = "service-scraper"


class Scrapeable(NamedTuple):
    """A ready pod."""

    ip: str
    started_at_s: float
    """Unix seconds."""


class Scraped(NamedTuple):
    """The revision's load, or why it is not known; neither where it has no pod."""

    stat: StatMessage | None = None
    error: str | None = None


OnScraped = Callable[[Scraped], None]


def sample_size(pods: int) -> int:
    """Pods to ask so that the mean is within 5 at 95 % confidence for a variance of 100."""
    if pods <= 3:
        return pods
    wanted = 1.96**2 * 100 / 5**2
    return math.ceil(pods * wanted / (pods + wanted - 1))


class Scraper:
    """Lives on one event loop; connections to queue-proxies are kept while they are asked."""

    def __init__(self, port: int = QUEUE_PROXY_PORT, timeout_s: float = TIMEOUT_S) -> None:
        self._proxies = QueueProxies(port, timeout_s)

    def scrape(
        self, key: RevisionKey, pods: Sequence[Scrapeable], *, stable_window_s: float, now: float, done: OnScraped
    ) -> None:
        """The revision's load, extrapolated from a sample, is told to ``done``."""
        if pods:
            _Scrape(self._proxies, key, pods, stable_window_s, now, done).begin()
        else:
            done(Scraped())

    def close(self) -> None:
        """Drops all connections."""
        self._proxies.close()


class _Scrape:
    """One revision asked once: as many questions at a time as answers are wanted, other pods for those that fail."""

    __slots__ = ("_candidates", "_done", "_key", "_open", "_pods", "_proxies", "_stats", "_wanted")

    def __init__(
        self,
        proxies: QueueProxies,
        key: RevisionKey,
        pods: Sequence[Scrapeable],
        stable_window_s: float,
        now: float,
        done: OnScraped,
    ) -> None:
        self._proxies, self._key, self._done = proxies, key, done
        self._pods = len(pods)
        self._wanted = self._open = sample_size(len(pods))
        self._candidates = iter(_in_order(pods, now - stable_window_s, self._wanted))
        self._stats: list[StatMessage] = []

    def begin(self) -> None:
        for _ in range(self._wanted):
            self._next()

    def _next(self) -> None:
        pod = next(self._candidates, None)
        if pod is None:
            self._close_one()
        else:
            self._proxies.ask(pod.ip, self._answered)

    def _answered(self, body: bytes | None) -> None:
        try:
            if body is None:
                self._next()
                return
            self._stats.append(decode_stat(self._key, body))
        except WireError:
            self._next()
            return
        self._close_one()

    def _close_one(self) -> None:
        self._open -= 1
        if self._open:
            return
        answers = len(self._stats)
        if answers < self._wanted:
            why = f"{self._key}: {answers} of {self._wanted} pods answered, {self._pods} are ready"
            self._done(Scraped(error=why))
        else:
            self._done(Scraped(stat=_extrapolated(self._key, self._stats, self._pods)))


def _in_order(pods: Sequence[Scrapeable], young_since_s: float, wanted: int) -> Sequence[Scrapeable]:
    """Old pods first, since a young one does not have its share of the load yet; shuffled where there is a choice."""
    if len(pods) == 1:
        return pods
    old = [pod for pod in pods if pod.started_at_s <= young_since_s]
    young = [pod for pod in pods if pod.started_at_s > young_since_s]
    random.shuffle(young if len(old) < wanted else old)
    return old + young


def _extrapolated(key: RevisionKey, stats: Sequence[StatMessage], pods: int) -> StatMessage:
    if pods == 1:
        return stats[0]
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
