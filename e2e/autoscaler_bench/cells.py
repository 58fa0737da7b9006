"""What is measured of one autoscaler with N revisions: a row of the table. It may not start servers."""

from __future__ import annotations

import random
import statistics
import time
from dataclasses import dataclass

from .candidate import Candidate, Name, spent
from .fakes import Fakes
from .plane import Plane, own_address
from .revisions import Revisions, SksController, Watched

SURGE = 50.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How long each part takes."""

    warm_up_s: float = 65.0
    window_s: float = 60.0
    samples: int = 20
    pending: float = 0.1
    """Part of the revisions whose status has to be written anew after a restart."""
    settled: bool = False
    """All is written already, so there is no cold start to be measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One autoscaler, one N, one mode."""

    autoscaler: Name
    revisions: int
    mode: str
    per_namespace: int
    cold_s: float | None
    restart_s: float | None
    cpu_s_per_minute: float
    system_cpu_s_per_minute: float
    rss_mb: float
    peak_rss_mb: float
    threads: int
    latency_p50_s: float | None
    latency_p99_s: float | None
    scrapes_per_s: float
    connections_opened: int
    machine_idle_percent: float


def measure(plane: Plane, revisions: Revisions, name: Name, plan: Plan, *, cold: bool) -> Row:
    """Starts the autoscaler until everything is written, again until all is decided, and looks at what that costs."""
    sks, watched = SksController(plane.session), Watched(plane.session)
    push_to = f"{own_address()}:8080" if revisions.pushed else ""
    load = Fakes(revisions.count, revisions.per_namespace, push_to=push_to)
    try:
        cold_s = None
        if cold:
            first = Candidate(name, plane)
            cold_s = watched.until(revisions.count, 1800, lambda: first.alive)
            first.stop()
        revisions.unsettle(round(revisions.count * plan.pending))
        candidate = Candidate(name, plane)
        try:
            restart_s = candidate.until_decided(revisions.count, 300)
            return _steady(candidate, revisions, load, watched, plan, cold_s, restart_s)
        finally:
            candidate.stop()
    finally:
        load.stop()
        watched.stop()
        sks.stop()


def _steady(
    candidate: Candidate,
    revisions: Revisions,
    load: Fakes,
    watched: Watched,
    plan: Plan,
    cold_s: float | None,
    restart_s: float | None,
) -> Row:
    time.sleep(plan.warm_up_s)
    before, answered, idle, begun = candidate.cost(), load.counts(), _idle_s(), time.monotonic()
    time.sleep(plan.window_s)
    after, answered_after, idle_after = candidate.cost(), load.counts(), _idle_s()
    took_s = time.monotonic() - begun
    delays = _latencies(revisions, load, watched, plan.samples)
    return Row(
        autoscaler=candidate.name,
        revisions=revisions.count,
        mode="push" if revisions.pushed else "scrape",
        per_namespace=revisions.per_namespace,
        cold_s=cold_s,
        restart_s=restart_s,
        **spent(before, after, took_s),
        latency_p50_s=statistics.median(delays) if delays else None,
        latency_p99_s=max(delays) if delays else None,
        scrapes_per_s=(answered_after["answers"] - answered["answers"]) / took_s,
        connections_opened=answered_after["connections"] - answered["connections"],
        machine_idle_percent=(idle_after - idle) / took_s / 2 * 100,
    )


def _latencies(revisions: Revisions, load: Fakes, watched: Watched, samples: int) -> list[float]:
    """From the first report of ten times the load until the Deployment's new scale is seen; another revision each."""
    chosen = random.sample(sorted(revisions.quiet), min(samples, revisions.count // 4))
    revisions.quiet -= set(chosen)
    delays = []
    for index in chosen:
        time.sleep(random.uniform(0.5, 1.5))
        namespace, name = revisions.namespace(index), f"r-{index}-deployment"
        load.change(index, SURGE)
        seen_at, told_at = watched.until_scaled(namespace, name, 20), load.told_at(index)
        if seen_at < float("inf") and told_at < float("inf"):
            delays.append(seen_at - told_at)
        load.change(index, 5.0)
    return delays


def _idle_s() -> float:
    with open("/proc/stat") as file:
        return int(file.readline().split()[4]) / 100
