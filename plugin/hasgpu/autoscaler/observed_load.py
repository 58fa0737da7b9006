"""Process autoscaler: the load of one revision of our class, from the activators' stats. Pure; told the time.

Every activator tells each second how many requests came and were in flight. An activator with nothing to tell is
silent; so silence counts as zero, and whether silence may be believed is for the caller to know.
"""

from __future__ import annotations

from dataclasses import dataclass

from hasgpu.decision.demand import RevisionLoad
from hasgpu.model.load import StatMessage
from hasgpu.prediction.forecast import LocalLevel, first_level

REPORT_S = 1.0
FRESH_S = 2.5
"""A reporter silent for longer has nothing to tell."""
HORIZON_S = 2.0
"""Until the quota can be changed again: a report and a write."""
LAZINESS = 0.3
"""Pods are asked for at this part of the quota's deviations: quotas answer to chance, pods to what lasts."""


@dataclass(frozen=True, slots=True)
class _Report:
    at_s: float
    requests: float
    in_flight: float


class ObservedLoad:
    """Fed with stats and ticks by one thread."""

    def __init__(self, now: float, sibling: LocalLevel | None = None) -> None:
        self._reports: dict[str, _Report] = {}
        self._quiet_since_s = now
        self.level: LocalLevel | None = sibling
        """What is expected; a new revision starts from its predecessor's."""
        self.requests = 0.0
        """Requests seen so far."""
        self.in_flight_s = 0.0
        """Time that all of them have spent in flight so far."""
        self._busy_until_s = now

    def take(self, message: StatMessage, now: float) -> None:
        """One reporter's last second."""
        # Requests that the activator proxied are counted by it; a queue-proxy's count would have them twice.
        requests = max(0.0, message.request_count - message.proxied_request_count)
        in_flight = max(0.0, message.average_concurrent_requests - message.average_proxied_concurrent_requests)
        self._reports[message.pod_name] = _Report(now, requests, in_flight)
        self._forget_silent(now)
        self.requests += requests
        self.in_flight_s += in_flight * REPORT_S
        if requests > 0.0 or in_flight > 0.0:
            self._busy_until_s = now
        self._observe(sum(report.requests for report in self._reports.values()), now, len(self._reports))
        self._quiet_since_s = now

    def tick(self, now: float) -> None:
        """Time passed: a second without any report was one without requests."""
        self._forget_silent(now)
        if not self._reports and self.level is not None and now - self._quiet_since_s >= REPORT_S:
            self._observe(0.0, now, 1)
            self._quiet_since_s = now

    def read(self, now: float, *, known: bool, deviations: float, startup_s: float, idle_from_s: float) -> RevisionLoad:
        """Load as the decision reads it; ``idle_from_s``: idle time does not begin before then."""
        fresh = [report for report in self._reports.values() if now - report.at_s <= FRESH_S]
        level = self.level if self._alive(now) else None
        return RevisionLoad(
            known=known,
            soon_requests_per_s=level.quantile(now, HORIZON_S, deviations) if level else 0.0,
            startup_requests_per_s=level.quantile(now, startup_s, LAZINESS * deviations) if level else 0.0,
            in_flight=sum(report.in_flight for report in fresh),
            active=self.active(now),
            idle_s=now - max(self._busy_until_s, idle_from_s),
        )

    def active(self, now: float) -> bool:
        """True where requests came or were in flight in the last moments."""
        return any(
            report.requests > 0.0 or report.in_flight > 0.0
            for report in self._reports.values()
            if now - report.at_s <= FRESH_S
        )

    def _alive(self, now: float) -> bool:
        """Long after the last request the upper quantile of a rate of zero is no reason to hold GPU time."""
        return now - self._busy_until_s < 4 * FRESH_S

    def _observe(self, requests: float, now: float, reporters: int) -> None:
        if self.level is None:
            self.level = first_level(requests, REPORT_S, now)
        else:
            self.level = self.level.observed(requests, REPORT_S, now, reporters)

    def _forget_silent(self, now: float) -> None:
        self._reports = {name: report for name, report in self._reports.items() if now - report.at_s <= FRESH_S}
