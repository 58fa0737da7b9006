"""Random scripts for two autoscalers: specs, reports, ready counts, clock. Pure, from a seed."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

SECOND_NS = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """A DeciderSpec and Metric in the oracle's spelling."""

    MaxScaleUpRate: float
    MaxScaleDownRate: float
    TargetValue: float
    TotalValue: float
    TargetBurstCapacity: float
    PanicThreshold: float
    ScalingMetric: str
    Aggregation: str
    StableWindowNs: int
    PanicWindowNs: int
    ScaleDownDelayNs: int
    ActivationScale: int
    Reachable: bool
    Scraped: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Stat:
    """One report."""

    AtNs: int
    Concurrency: float
    ProxiedConcurrency: float
    Requests: float
    ProxiedRequests: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Reports that came in, then one evaluation. ``Ready`` -1: the count is unknown."""

    AtNs: int
    Ready: int
    Stats: tuple[Stat, ...]
    Spec: Spec | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """A revision's life."""

    Spec: Spec
    ReadyFirst: int
    AnchorNs: int
    Steps: tuple[Step, ...]


def random_script(seed: str, steps: int) -> Script:
    """The same seed gives the same script."""
    chance = random.Random(seed)
    spec = _spec(chance)
    first = spec
    ready_first = chance.choice((0, 0, 1, 1, 2, 5, 17))
    resize_at = chance.randrange(steps) if chance.random() < 0.8 else -1
    # On an exact clock times meet the ends of windows exactly.
    jitter_ms = chance.choice((0, 3, 3))
    load, ready, at_ns, anchor_ns, made = _load(chance), ready_first, 0, 0, []
    for index in range(steps):
        pause_ns = _pause_ns(chance, spec, jitter_ms)
        if index == resize_at and chance.random() < 0.4:
            pause_ns = 2 * spec.StableWindowNs
        silent = pause_ns > spec.PanicWindowNs and chance.random() < 0.5
        before_ns, at_ns = at_ns, at_ns + pause_ns
        changed = None
        if index == resize_at:
            changed = spec = _changed(chance, spec)
            anchor_ns = at_ns
        elif chance.random() < 0.01:
            changed = spec = replace(spec, Reachable=not spec.Reachable)
        load = _next_load(chance, load)
        ready = _next_ready(chance, ready, load, spec)
        stats = () if silent else _stats(chance, before_ns, at_ns, load)
        made.append(Step(AtNs=at_ns, Ready=ready, Stats=stats, Spec=changed))
    # A changed spec without the anchor would resize windows at another time than the wall clock's.
    if anchor_ns:
        made = [step if step.Spec is None or step.AtNs == anchor_ns else replace(step, Spec=None) for step in made]
    return Script(Spec=first, ReadyFirst=ready_first, AnchorNs=anchor_ns, Steps=tuple(made))


def _spec(chance: random.Random) -> Spec:
    window_s = chance.choice((6, 7, 12, 20, 40, 60, 61, 90, 300))
    total = chance.choice((1.0, 2.0, 10.0, 100.0, 0.5, round(chance.uniform(0.1, 200), 3)))
    return Spec(
        MaxScaleUpRate=chance.choice((1000.0, 1.1, 2.0, 10.0, 1.5)),
        MaxScaleDownRate=chance.choice((2.0, 1.1, 10.0, 1.5)),
        TargetValue=max(0.01, total * chance.choice((0.7, 1.0, 0.35))),
        TotalValue=total,
        TargetBurstCapacity=chance.choice((211.0, 0.0, -1.0, 10.0, 70.5)),
        PanicThreshold=chance.choice((2.0, 1.1, 10.0, 1.5)),
        ScalingMetric=chance.choice(("concurrency", "concurrency", "rps")),
        Aggregation=chance.choice(("linear", "linear", "weighted-exponential")),
        StableWindowNs=window_s * SECOND_NS,
        PanicWindowNs=max(1, round(window_s * chance.choice((0.1, 0.1, 0.5, 1.0)))) * SECOND_NS,
        ScaleDownDelayNs=chance.choice((0, 0, 0, 4, 15, 60)) * SECOND_NS,
        ActivationScale=chance.choice((0, 0, 0, 2, 5)),
        Reachable=chance.random() < 0.9,
        Scraped=chance.random() < 0.7,
    )


def _changed(chance: random.Random, old: Spec) -> Spec:
    new = _spec(chance)
    if chance.random() < 0.4:
        new = replace(new, StableWindowNs=old.StableWindowNs, PanicWindowNs=old.PanicWindowNs)
    # Class and aggregation cannot change on a live revision; the delay window is built at creation only.
    return replace(new, Aggregation=old.Aggregation, Scraped=old.Scraped, ScaleDownDelayNs=old.ScaleDownDelayNs)


def _pause_ns(chance: random.Random, spec: Spec, jitter_ms: int) -> int:
    kind = chance.random()
    if kind < 0.85 or (not jitter_ms and kind < 0.95):
        return 2 * SECOND_NS + chance.randint(-jitter_ms, jitter_ms) * 1_000_000
    if kind < 0.90:
        return chance.randrange(0, 900) * 1_000_000
    if kind < 0.95:
        return chance.randrange(1, 9_000) * 1_000_000
    return (
        int(spec.StableWindowNs * chance.choice((0.5, 1.0, 1.5)))
        + bool(jitter_ms) * chance.randrange(0, 2_000) * 1_000_000
    )


def _load(chance: random.Random) -> float:
    return chance.choice((0.0, 0.0, 1.0, 5.0, 50.0, 400.0))


def _next_load(chance: random.Random, load: float) -> float:
    kind = chance.random()
    if kind < 0.04:
        return _load(chance)
    if kind < 0.06:
        return load * chance.choice((3.0, 10.0)) + 1
    return max(0.0, load * chance.uniform(0.9, 1.1))


def _next_ready(chance: random.Random, ready: int, load: float, spec: Spec) -> int:
    kind = chance.random()
    if kind < 0.03:
        return -1
    if kind < 0.5:
        return max(0, ready)
    wanted = min(2000, int(load / spec.TargetValue) + chance.randrange(0, 2))
    return max(0, ready) + (wanted > ready) * max(1, (wanted - ready) // 2) - (wanted < ready) * 1


def _stats(chance: random.Random, before_ns: int, at_ns: int, load: float) -> tuple[Stat, ...]:
    stats = []
    for second in range(max(before_ns, at_ns - 5 * SECOND_NS), at_ns, SECOND_NS):
        if chance.random() < 0.08 or (load == 0.0 and chance.random() < 0.5):
            continue
        reporters = chance.choice((1, 1, 2, 3))
        for _ in range(reporters):
            late_ns = chance.choice((0, 0, 0, 0, 1, 3, 70)) * SECOND_NS * (chance.random() < 0.1)
            value = round(load / reporters * chance.uniform(0.8, 1.2), 4)
            proxied = round(value * chance.choice((0.0, 0.0, 0.5, 1.0)), 4)
            stats.append(
                Stat(
                    AtNs=second - late_ns,
                    Concurrency=value,
                    ProxiedConcurrency=proxied,
                    Requests=value * 3,
                    ProxiedRequests=proxied * 3,
                )
            )
    return tuple(stats)
