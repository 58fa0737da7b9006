"""What a revision must be able to serve: forecast, and what its backlog adds. Pure.

The forecast says what rate to expect. Requests in flight say what is true: more of them than the rate explains within
the SLO means that the forecast or the capacity is wrong, and the excess must be drained whatever they say (panic).
"""

from __future__ import annotations

from dataclasses import dataclass

from hasgpu.model.decision import Reason, reason


@dataclass(frozen=True, slots=True, kw_only=True)
class RevisionLoad:
    """Load of one revision as of now; rates are upper quantiles of the forecast."""

    known: bool
    """False while an activator may be silent because it is not connected: then nothing is decided."""
    soon_requests_per_s: float
    """To expect until the quota can be changed again."""
    startup_requests_per_s: float
    """To expect by the time a new pod would be ready; nearer to the mean, since a pod costs for minutes."""
    in_flight: float
    active: bool
    """Requests of its own are there now: what wakes a revision from zero; a forecast alone does not."""
    idle_s: float
    """Seconds since the last request was seen, in flight or counted."""
    season_requests_per_s: float = 0.0
    """What the daily season brings by the time a new pod would be ready; 0 where none is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """Requests/s to be served now, and by the time a new pod could help."""

    now_requests_per_s: float
    later_requests_per_s: float
    backlog_requests_per_s: float
    """The part of the first that drains what is in flight."""
    reasons: tuple[Reason, ...]


def backlog_of(soon_requests_per_s: float, in_flight: float, slo_latency_s: float) -> float:
    """Requests in flight beyond what a rate explains within the SLO, and one."""
    return max(0.0, in_flight - (soon_requests_per_s * slo_latency_s + 1.0))


def demand_of(load: RevisionLoad, slo_latency_s: float, drain_s: float, startup_s: float = 0.0) -> Demand:
    """Forecast plus the drain of what is in flight beyond rate x SLO (Little's law) and one request.

    New pods are asked to drain it in the time that they take to start: while they do it grows, and asking for more
    each second would bring many times what is needed.
    """
    expected = load.soon_requests_per_s * slo_latency_s + 1.0
    backlog = backlog_of(load.soon_requests_per_s, load.in_flight, slo_latency_s)
    extra = backlog / max(drain_s, slo_latency_s)
    later = max(load.startup_requests_per_s, load.season_requests_per_s)
    facts = [reason("forecast", now_per_s=load.soon_requests_per_s, later_per_s=load.startup_requests_per_s)]
    if later > load.startup_requests_per_s:
        facts.append(reason("season", later_per_s=later))
    if extra > 0.0:
        facts.append(reason("panic", in_flight=load.in_flight, expected=expected, extra_per_s=extra))
    return Demand(
        now_requests_per_s=load.soon_requests_per_s + extra,
        later_requests_per_s=later + backlog / max(drain_s, slo_latency_s, startup_s),
        backlog_requests_per_s=extra,
        reasons=tuple(facts),
    )
