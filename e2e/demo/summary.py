"""The demo's figures, from outcomes and timeline. Pure."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from e2e.load.replay import Outcome

from .timeline import Timeline


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Everything the demo saw."""

    load_s: float
    slo_s: Mapping[str, float]
    outcomes: Sequence[Outcome]
    timeline: Timeline
    wake: Sequence[Outcome]
    zero_after_s: Mapping[str, float | None]
    """Seconds from the last answer to the last pod's end; None where it did not come."""
    kernel_shares: Sequence[Mapping[str, Any]]
    """One record a checked quota change, from the double's kernel log."""


def percentile(values: Sequence[float], percent: float) -> float:
    """Nearest-rank percentile; NaN of nothing."""
    if not values:
        return math.nan
    ranked = sorted(values)
    return ranked[max(0, math.ceil(percent / 100 * len(ranked)) - 1)]


def summarise(run: Run) -> dict[str, Any]:
    """The content of result.json."""
    services = {service: _service(run, service) for service in run.slo_s}
    result: dict[str, Any] = {
        "gpu": "emulated",
        "load_s": run.load_s,
        "services": services,
        "requests": sum(s["requests"] for s in services.values()),
        "failed": sum(s["failed"] for s in services.values()),
        "mean_gpus_allocated": round(sum(s["mean_gpus_allocated"] for s in services.values()), 4),
        "changes": {name: sum(s["changes"][name] for s in services.values()) for name in ("vertical", "out", "in")},
        "kernel_log": list(run.kernel_shares),
    }
    result["checks"] = checks(run, result)
    return result


def _service(run: Run, service: str) -> dict[str, Any]:
    outcomes = [outcome for outcome in run.outcomes if outcome.function == service]
    answered = [outcome.latency_s for outcome in outcomes if outcome.ok]
    late = sum(1 for outcome in outcomes if not outcome.ok or outcome.latency_s > run.slo_s[service])
    changes = [change for change in run.timeline.quota_changes() if change.service == service]
    wake = [outcome for outcome in run.wake if outcome.function == service]
    return {
        "requests": len(outcomes),
        "failed": len(outcomes) - len(answered),
        "slo_ms": round(run.slo_s[service] * 1e3, 1),
        "share_over_slo": round(late / len(outcomes), 5) if outcomes else None,
        "latency_ms": {f"p{p}": _ms(percentile(answered, p)) for p in (50, 95, 99)}
        | {"max": _ms(max(answered, default=math.nan))},
        "mean_gpus_allocated": round(run.timeline.mean_allocated(service, 0.0, run.load_s), 4),
        "pods_max": _most_ready(run, service),
        "changes": {"vertical": len(changes)} | _horizontal(run, service),
        "vertical_without_restart": sum(1 for change in changes if change.same_container),
        "scaled_to_zero_after_s": run.zero_after_s.get(service),
        "wake_s": round(wake[0].latency_s, 3) if wake and wake[0].ok else None,
    }


def _ms(seconds: float) -> float | None:
    return None if math.isnan(seconds) else round(seconds * 1e3, 1)


def _moments(run: Run) -> list[float]:
    return sorted({0.0, *(state.at_s for state in run.timeline.states if state.at_s >= 0)})


def _most_ready(run: Run, service: str) -> int:
    return max((run.timeline.ready_pods(at, service) for at in _moments(run)), default=0)


def _horizontal(run: Run, service: str) -> dict[str, int]:
    """Scale-outs and scale-ins under load, beyond the first pod: how often the count of pods rose and fell.

    Counts that lasted less than a second are steps of one change, such as two pods that leave for zero.
    """
    moments = [at for at in _moments(run) if at <= run.load_s]
    lasting = [at for at, after in itertools.pairwise([*moments, math.inf]) if after - at >= 1.0]
    counts = [len([s for s in run.timeline.at(at, service) if not s.terminating]) for at in lasting]
    out = sum(1 for left, right in itertools.pairwise(counts) if right > left >= 1)
    inward = sum(1 for left, right in itertools.pairwise(counts) if left > right >= 1)
    return {"out": out, "in": inward}


def checks(run: Run, result: Mapping[str, Any]) -> dict[str, bool]:
    """What the demo promises, each true or false."""
    services = result["services"].values()
    return {
        "vertical change without restart": any(s["vertical_without_restart"] for s in services),
        "horizontal scale-out": result["changes"]["out"] >= 1,
        "horizontal scale-in": result["changes"]["in"] >= 1,
        "scale to zero": all(s["scaled_to_zero_after_s"] is not None for s in services),
        "wake-up": all(s["wake_s"] is not None for s in services),
        "no failed request": result["failed"] == 0,
    }
