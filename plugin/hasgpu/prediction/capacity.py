"""How many requests a second a slice serves within its SLO: surface, quota law and queue put together. Pure.

A request that arrives at phase u of the pod's period is in time if the work its pod can do until the deadline
covers the work in front of it and its own. The work in front is that of an M/D/1 queue served at the pod's mean
pace, plus what piles up while the slot is closed. The capacity is the rate at which just the allowed share is late.
A pod of several gets its requests by choice of two (Knative's activator): one waits only where both are taken. For
two pods at load r Erlang has 2 r^2 / (1 + r) for that where a lone pod has r, and the tail follows; more pods are
served better still (held against the simulator in tests/simulator).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hasgpu.model.capacity import CapacityTable
from hasgpu.model.profile import Gate
from hasgpu.model.units import MIN_TIME_QUOTA_PERCENT

from .queueing import LOADS, waiting_tail
from .quota_law import mean_latency_s, period_s, phases_s, work_done_s
from .surface import Surface

Floats = NDArray[np.float64]

SM_PERCENTS: tuple[int, ...] = tuple(range(5, 101, 5))
_QUOTAS: Floats = np.arange(MIN_TIME_QUOTA_PERCENT, 101) / 100.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CapacityTerms:
    """What a revision asks of its slices."""

    slo_latency_s: float
    percentile: float
    batch_size: int
    overhead_s: float
    """Time a request spends outside the GPU."""
    window_s: float
    gate: Gate = "gpu-time"
    margin: float = 0.0
    """Relative: work is taken this much larger than the edge of the surface's interval, e.g. for interference."""


def capacity_table(
    surface: Surface, terms: CapacityTerms, *, extra_sm_percents: Iterable[int] = (), learned: bool = False
) -> CapacityTable:
    """The table for one revision on one GPU product."""
    sms = tuple(sorted({*SM_PERCENTS, *extra_sm_percents}))
    batches = _batches(terms.batch_size)
    rates = shared = np.zeros((len(sms), len(_QUOTAS)))
    for batch in batches:
        work = _careful_work_s(surface, terms, batch, sms)
        alone_rates, shared_rates = _inference_rates(surface, terms, work)
        rates = np.maximum(rates, batch * alone_rates)
        shared = np.maximum(shared, batch * shared_rates)
    alone = np.array([surface.work_s(1, sm) for sm in sms])
    return CapacityTable(
        sm_percents=sms,
        requests_per_s=_padded(_rising(rates), 0.0),
        shared_requests_per_s=_padded(_rising(np.maximum(rates, shared)), 0.0),
        latency_s=_padded(_lone_latency_s(surface, terms, alone), float("inf")),
        learned=learned,
    )


def _careful_work_s(surface: Surface, terms: CapacityTerms, batch: int, sms: tuple[int, ...]) -> Floats:
    """Work by SM share at the upper edge of its interval; what a smaller share can do, a larger one can too."""
    edge = [surface.work_s(batch, sm) * (1.0 + surface.spread(batch, sm)) for sm in sms]
    result: Floats = np.minimum.accumulate(np.array(edge)) * (1.0 + terms.margin)
    return result


def _batches(batch_size: int) -> tuple[int, ...]:
    """Batches worth trying: powers of two and the bound itself; a queue fills a batch only as far as it pays."""
    return (*(1 << i for i in range(batch_size.bit_length()) if 1 << i < batch_size), batch_size)


def _inference_rates(surface: Surface, terms: CapacityTerms, work: Floats) -> tuple[Floats, Floats]:
    """Inferences/s by (SM, quota) at which the allowed share is late: of a lone pod, and of one of several."""
    deadline_s = terms.slo_latency_s - terms.overhead_s
    if deadline_s <= 0.0:
        nothing = np.zeros((len(work), len(_QUOTAS)))
        return nothing, nothing
    if terms.gate == "launch":
        return _launch_rates(surface, terms, work, deadline_s)
    own = work[:, None, None]
    share = _QUOTAS[None, :, None]
    arrival = phases_s(share, terms.window_s)
    before = work_done_s(arrival, share, terms.window_s)
    slack = work_done_s(arrival + deadline_s, share, terms.window_s) - before - own
    slot = share * period_s(share, terms.window_s)
    piled_up = share * arrival - before + slot * (1.0 - share)
    late = [waiting_tail(r, (slack - r * piled_up) / own) for r in LOADS]
    pace = _QUOTAS[None, :] / work[:, None]
    alone = np.stack([each.mean(axis=-1) for each in late])
    shared = np.stack([_of_two(each, r).mean(axis=-1) for each, r in zip(late, LOADS, strict=True)])
    return _highest_load(alone, terms.percentile) * pace, _highest_load(shared, terms.percentile) * pace


def _of_two(late: Floats, load: float) -> Floats:
    """The chance to be late at the better of two pods, from that at one; who is late anyway, is late at both."""
    result: Floats = np.where(late < 1.0, np.minimum(late, late**2 * 2.0 / (1.0 + load)), 1.0)
    return result


def _launch_rates(surface: Surface, terms: CapacityTerms, work: Floats, deadline_s: float) -> tuple[Floats, Floats]:
    """The same under the launch gate: one inference takes max(g, h), in which nothing else of the pod runs."""
    service = np.maximum(work[:, None], _launch_times_s(surface)[None, :])
    late = np.stack([waiting_tail(r, (deadline_s - service) / service) for r in LOADS])
    shared = np.stack([_of_two(each, r) for each, r in zip(late, LOADS, strict=True)])
    return _highest_load(late, terms.percentile) / service, _highest_load(shared, terms.percentile) / service


def _highest_load(late: Floats, percentile: float) -> Floats:
    """The utilisation at which the late share reaches its limit; ``late`` has LOADS along the first axis."""
    allowed = 1.0 - percentile / 100.0
    rising = np.maximum.accumulate(late, axis=0)
    loads = np.asarray(LOADS)
    over = (rising > allowed + 1e-12).sum(axis=0)
    last_good = len(loads) - over - 1
    good = np.clip(last_good, 0, len(loads) - 2)
    low = np.take_along_axis(rising, good[None], axis=0)[0]
    high = np.take_along_axis(rising, good[None] + 1, axis=0)[0]
    part = np.clip((allowed - low) / np.maximum(high - low, 1e-12), 0.0, 1.0)
    between = loads[good] + part * (loads[good + 1] - loads[good])
    result: Floats = np.where(last_good < 0, 0.0, np.where(over == 0, loads[-1], between))
    return result


def _lone_latency_s(surface: Surface, terms: CapacityTerms, alone: Floats) -> Floats:
    if terms.gate == "launch":
        result: Floats = np.maximum(alone[:, None], _launch_times_s(surface)[None, :])
        return result
    return mean_latency_s(alone[:, None], _QUOTAS[None, :], terms.window_s)


def _launch_times_s(surface: Surface) -> Floats:
    return np.array([surface.launch_s(round(100 * q)) for q in _QUOTAS])


def _rising(rates: Floats) -> Floats:
    """Never falling with quota: where the period jumps, a quota counts as the worst of all larger ones."""
    result: Floats = np.minimum.accumulate(rates[:, ::-1], axis=1)[:, ::-1]
    return result


def _padded(grid: Floats, absent: float) -> tuple[tuple[float, ...], ...]:
    """One value for each whole quota 0..100; below the least quota there is no slice."""
    head = (absent,) * MIN_TIME_QUOTA_PERCENT
    return tuple((*head, *(float(value) for value in line)) for line in grid)
