"""Process autoscaler: the load of one revision of our class, from the activators' stats. Pure; told the time.

Every activator tells each second how many requests came and were in flight. An activator with nothing to tell is
silent; so silence counts as zero, and whether silence may be believed is for the caller to know.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

from hasgpu.decision.demand import RevisionLoad
from hasgpu.model.load import StatMessage
from hasgpu.prediction.forecast_board import ForecastBoard, Horizon

REPORT_S = 1.0
FRESH_S = 2.5
"""A reporter silent for longer has nothing to tell."""
VERTICAL, COLD_START = 0, 1
"""Places of the horizons on a board: what quotas and what new pods are for."""
VERTICAL_S = 5.0
"""About as long as a quota is held."""
LAZINESS = 0.3
"""Pods are asked for at this part of the quota's deviations: quotas answer to chance, pods to what lasts."""


@dataclass(frozen=True, slots=True)
class _Report:
    at_s: float
    requests: float
    in_flight: float


def horizons(risk_quantile: float, startup_s: float) -> tuple[Horizon, Horizon]:
    """What a board of observed loads looks ahead to; start-up is told anew at each reading."""
    normal = NormalDist()
    lazy = normal.cdf(LAZINESS * normal.inv_cdf(risk_quantile))
    return Horizon(span_s=VERTICAL_S, quantile=risk_quantile), Horizon(span_s=startup_s, quantile=lazy)


class ObservedLoad:
    """Fed with stats and ticks by one thread; what is expected is on a board that all revisions share."""

    def __init__(self, now: float, board: ForecastBoard) -> None:
        self._reports: dict[str, _Report] = {}
        self._quiet_since_s = now
        self._board, self._column = board, board.add()
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
        rate = sum(report.requests for report in self._reports.values()) / REPORT_S
        # Each of several reporters tells its own part; a sum of which only a part is new weighs as that part.
        self._board.note(self._column, rate, requests, REPORT_S / len(self._reports), now)
        self._quiet_since_s = now

    def tick(self, now: float) -> None:
        """Time passed: a second without any report was one without requests."""
        if now - self._quiet_since_s < REPORT_S:
            return
        self._forget_silent(now)
        if not self._reports and self._board.knows(self._column):
            self._board.note(self._column, 0.0, 0.0, REPORT_S, now)
            self._quiet_since_s = now

    @property
    def known(self) -> bool:
        """Whether anything is expected: something was reported, of it or of who it follows."""
        return self._board.knows(self._column)

    def follow(self, sibling: ObservedLoad) -> None:
        """A new revision expects what its predecessor does."""
        self._board.follow(self._column, sibling._column)

    def leave(self) -> None:
        """The revision is gone: nothing may be called after this."""
        self._board.drop(self._column)

    def read(
        self, now: float, *, known: bool, startup_s: float, idle_from_s: float, awaited_per_s: float = 0.0
    ) -> RevisionLoad:
        """Load as the decision reads it; ``idle_from_s``: idle time does not begin before then; ``awaited_per_s``: by
        the season."""
        self._board.span(self._column, COLD_START, startup_s)
        soon, in_flight = self.present(now)
        expected = self._alive(now) and self.known
        return RevisionLoad(
            known=known,
            soon_requests_per_s=soon,
            startup_requests_per_s=self._board.cautious(self._column, COLD_START) if expected else 0.0,
            in_flight=in_flight,
            active=self.active(now),
            idle_s=now - max(self._busy_until_s, idle_from_s),
            season_requests_per_s=awaited_per_s,
        )

    def present(self, now: float) -> tuple[float, float]:
        """(Requests/s to be ready for now, requests in flight), which is what each stat is looked at for."""
        soon = self._board.cautious(self._column, VERTICAL) if self._alive(now) and self.known else 0.0
        return soon, sum(report.in_flight for report in self._reports.values() if now - report.at_s <= FRESH_S)

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

    def _forget_silent(self, now: float) -> None:
        self._reports = {name: report for name, report in self._reports.items() if now - report.at_s <= FRESH_S}
