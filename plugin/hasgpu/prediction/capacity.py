"""How many requests a second a slice serves within its SLO: surface, quota law and queue put together. Pure.

A request that arrives at phase u of the pod's period is in time if the work its pod can do until the deadline
covers the work in front of it and its own. The work in front is that of an M/D/1 queue served at the pod's mean
pace, plus what piles up while the slot is closed. The capacity is the rate at which just the allowed share is late.
A pod of several gets its requests by choice of two (Knative's activator): one waits only where both are taken. For
two pods at load r Erlang has 2 r^2 / (1 + r) for that where a lone pod has r, and the tail follows; more pods are
served better still (held against the simulator in tests/simulator).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from hasgpu.model.capacity import CapacityTable
from hasgpu.model.profile import Gate
from hasgpu.model.units import MIN_TIME_QUOTA_PERCENT

from .bulk_queue import LOADS as BULK_LOADS
from .bulk_queue import most_load, sojourn_tail
from .queueing import LOADS, waiting_tail
from .quota_law import mean_latency_s, period_s, phases_s, work_done_s
from .surface import Surface

Floats = NDArray[np.float64]

SM_PERCENTS: tuple[int, ...] = tuple(range(5, 101, 5))
_HALVINGS = 40
_MOST_TOGETHER = 8
"""Requests of a batch that are told apart."""
_ROUNDS = 3
_EARLIER = 0.35
"""In the tail of an M/D/1 queue the busy period began so many latencies before, beside 1 / (1 - load)."""
_TIMES_GRAIN = 0.03
"""In the logarithm of a batch's time in a lone request's: shares that scale alike share one queue."""
_FULL_CARE = 0.9
"""The quantile of demand from which on launch times are taken at the edge of their interval."""
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
    edge: float = 1.0
    """How far up the interval work is taken: 0 is its middle."""
    launch_edge: float = 1.0
    """The same of launch times."""
    gap_s: float = 0.0
    """What a server takes between two inferences that others wait for."""
    grace_s: float = 0.0
    """How far past its slot the gate lets a pod spend what it saved: 2 ms. Capacity keeps that as a margin."""


def capacity_table(
    surface: Surface, terms: CapacityTerms, *, extra_sm_percents: Iterable[int] = (), learned: bool = False
) -> CapacityTable:
    """The table for one revision on one GPU product."""
    sms = tuple(sorted({*SM_PERCENTS, *extra_sm_percents}))
    rates, shared = _rates(surface, terms, sms)
    alone = np.array([surface.work_s(1, sm) for sm in sms])
    return CapacityTable(
        sm_percents=sms,
        requests_per_s=_padded(_rising(rates), 0.0),
        shared_requests_per_s=_padded(_rising(np.maximum(rates, shared)), 0.0),
        latency_s=_padded(_lone_latency_s(surface, terms, alone), float("inf")),
        learned=learned,
    )


def launch_edge(risk_quantile: float) -> float:
    """How far up their interval launch times are taken by who plans demand at a quantile: 0 at .5, 1 from .9 on.

    Under the launch gate one doubtful time decides whether a slice can meet an SLO at all, whatever the load, so the
    care taken with it must be part of the knob that trades cost for risk. Work needs none of this: its error moves the
    capacity little by little, as the part kept free does.
    """
    normal = NormalDist()
    return min(1.0, max(0.0, normal.inv_cdf(risk_quantile) / normal.inv_cdf(_FULL_CARE)))


def _careful_work_s(surface: Surface, terms: CapacityTerms, batch: int, sms: Sequence[int]) -> Floats:
    """Work by SM share at the edge of its interval; what a smaller share can do, a larger one can too."""
    edge = [surface.work_s(batch, sm) * (1.0 + terms.edge * surface.spread(batch, sm)) for sm in sms]
    result: Floats = np.minimum.accumulate(np.array(edge)) * (1.0 + terms.margin) + terms.gap_s
    return result


def _rates(surface: Surface, terms: CapacityTerms, sms: Sequence[int]) -> tuple[Floats, Floats]:
    """Requests/s by (SM, quota) at which the allowed share is late: of a lone pod, and of one of several."""
    deadline_s = terms.slo_latency_s - terms.overhead_s
    if deadline_s <= 0.0:
        nothing = np.zeros((len(sms), len(_QUOTAS)))
        return nothing, nothing
    if terms.gate == "launch":
        return _launch_rates(surface, terms, sms, deadline_s)
    if terms.batch_size == 1:
        return _single_rates(_careful_work_s(surface, terms, 1, sms), terms, deadline_s)
    works = _batch_works_s(surface, terms, sms)
    lines = [_bulk_rates(line[:_MOST_TOGETHER], terms, deadline_s) for line in works.T]
    alone, shared = (np.stack(rates) for rates in zip(*lines, strict=True))
    if terms.batch_size <= _MOST_TOGETHER:
        return alone, shared
    # Longer queues take too long to solve: requests come in groups, each as dear as its last one.
    group = -(-terms.batch_size // _MOST_TOGETHER)
    lines = [_bulk_rates(line[group - 1 :: group], terms, deadline_s) for line in works.T]
    grouped, grouped_shared = (group * np.stack(rates) for rates in zip(*lines, strict=True))
    return np.maximum(alone, grouped), np.maximum(shared, grouped_shared)


def _single_rates(work: Floats, terms: CapacityTerms, deadline_s: float) -> tuple[Floats, Floats]:
    """Of a function that answers one request after the other; ``work`` by SM share."""
    own, share = work[:, None, None], _QUOTAS[None, :, None]
    slack, piled_up = _slack(share, terms.window_s, deadline_s)
    late = [waiting_tail(r, (slack - own - r * piled_up) / own) for r in LOADS]
    alone = np.stack([each.mean(axis=-1) for each in late])
    shared = np.stack([_of_two(each, r).mean(axis=-1) for each, r in zip(late, LOADS, strict=True)])
    pace = _QUOTAS[None, :] / work[:, None]
    return _highest_load(alone, LOADS, terms.percentile) * pace, _highest_load(shared, LOADS, terms.percentile) * pace


def _bulk_rates(works: Floats, terms: CapacityTerms, deadline_s: float) -> tuple[Floats, Floats]:
    """Of a function that answers together who waits; ``works`` by batch, at one SM share."""
    slack, piled_up = _slack(_QUOTAS[:, None], terms.window_s, deadline_s)
    grains = np.ceil(np.log(works / works[0]) / _TIMES_GRAIN - 1e-9)
    times = tuple(float(value) for value in np.exp(grains * _TIMES_GRAIN))
    late = [sojourn_tail(times, f, (slack - f * piled_up) / works[0]) for f in BULK_LOADS]
    alone = np.stack([each.mean(axis=-1) for each in late])
    shared = np.stack([_of_two(each, f).mean(axis=-1) for each, f in zip(late, BULK_LOADS, strict=True)])
    pace = _QUOTAS / works[0] * most_load(times)
    return (
        _highest_load(alone, BULK_LOADS, terms.percentile) * pace,
        _highest_load(shared, BULK_LOADS, terms.percentile) * pace,
    )


def _batch_works_s(surface: Surface, terms: CapacityTerms, sms: Sequence[int]) -> Floats:
    """(batch, SM): work of 1..batch_size requests at once; from few sizes, between them along straight lines."""
    sizes = batch_sizes(terms.batch_size)
    known = np.array([_careful_work_s(surface, terms, size, sms) for size in sizes])
    every = np.arange(1, terms.batch_size + 1)
    works = np.array([np.interp(every, sizes, column) for column in np.maximum.accumulate(known, axis=0).T])
    return works.T


def batch_sizes(batch_size: int) -> tuple[int, ...]:
    """Powers of two and the bound itself."""
    return (*(1 << i for i in range(batch_size.bit_length()) if 1 << i < batch_size), batch_size)


def _slack(share: Floats, window_s: float, deadline_s: float, laid: Floats | None = None) -> tuple[Floats, Floats]:
    """Work that can be done until the deadline, by the phase of arrival; what piles up by then for a unit of load.

    ``laid``: the quota that slots are laid for, where they turn out longer.
    """
    quota = share if laid is None else laid
    arrival = phases_s(quota, window_s)
    before = work_done_s(arrival, share, window_s, quota)
    slack = work_done_s(arrival + deadline_s, share, window_s, quota) - before
    slot = share * period_s(quota, window_s)
    return slack, share * arrival - before + slot * (1.0 - share)


def latency_quantile_s(
    surface: Surface, terms: CapacityTerms, sm_percent: int, quota_percent: int, requests_per_s: float
) -> float:
    """The latency within which the percentile of requests is answered; infinite where more comes than can be done.

    The same model read the other way round: the deadline at which so many requests a second are the capacity.
    """
    works = _batch_works_s(surface, terms, (sm_percent,))[:, 0]
    times = tuple(float(value) for value in works / works[0])
    quota = quota_percent / 100.0
    load = requests_per_s * float(works[0]) / quota / most_load(times)
    if load >= 1.0:
        return math.inf
    found_s = _quantile_s(terms, works, times, quota, quota, load)
    for _ in range(_ROUNDS if terms.grace_s > 0.0 and quota < 1.0 else 0):
        share = min(quota * (1.0 + _made_up(terms, quota, load, float(works[0]), found_s)), 1.0)
        found_s = _quantile_s(terms, works, times, quota, share, load * quota / share)
    return found_s + terms.overhead_s


def _quantile_s(
    terms: CapacityTerms, works: Floats, times: tuple[float, ...], quota: float, share: float, load: float
) -> float:
    """Of a pod whose slots are laid for a quota and give it a share of the time."""
    low_s, high_s = 0.0, 100.0 * float(works[-1]) / quota + 10.0 * terms.window_s
    late_most = 1.0 - terms.percentile / 100.0
    for _ in range(_HALVINGS):
        middle_s = (low_s + high_s) / 2.0
        slack, piled_up = _slack(np.full((1, 1), share), terms.window_s, middle_s, np.full((1, 1), quota))
        late = float(sojourn_tail(times, load, (slack + terms.gap_s - load * piled_up) / works[0]).mean())
        low_s, high_s = (middle_s, high_s) if late > late_most else (low_s, middle_s)
    return high_s


def _made_up(terms: CapacityTerms, quota: float, load: float, work_s: float, latency_s: float) -> float:
    """How much longer slots are where a pod has saved time: by the grace, as long as that lasts.

    It saves up to its share of a window while it is idle, and whatever its server takes between two inferences. A
    request that takes so long has waited in a busy period that began earlier, the earlier the higher the load; each
    slot since then used a grace, and what is missing of it, later slots lack.
    """
    period = float(period_s(quota, terms.window_s))
    slot = quota * period
    slots = latency_s * (_EARLIER + 1.0 / (1.0 - load)) / period
    saved = quota * max(terms.window_s, period) + slots * slot * terms.gap_s / work_s
    return min(1.0, saved / (slots * terms.grace_s)) * terms.grace_s / slot


def _of_two(late: Floats, load: float) -> Floats:
    """The chance to be late at the better of two pods, from that at one; who is late anyway, is late at both."""
    result: Floats = np.where(late < 1.0, np.minimum(late, late**2 * 2.0 / (1.0 + load)), 1.0)
    return result


def _launch_rates(
    surface: Surface, terms: CapacityTerms, sms: Sequence[int], deadline_s: float
) -> tuple[Floats, Floats]:
    """The same under the launch gate: one inference takes max(g, h), in which nothing else of the pod runs."""
    alone_rates = shared_rates = np.zeros((len(sms), len(_QUOTAS)))
    for batch in batch_sizes(terms.batch_size):
        work = _careful_work_s(surface, terms, batch, sms)
        service = np.maximum(work[:, None], _careful_launch_s(surface, terms, sms))
        late = np.stack([waiting_tail(r, (deadline_s - service) / service) for r in LOADS])
        shared = np.stack([_of_two(each, r) for each, r in zip(late, LOADS, strict=True)])
        pace = batch / service
        alone_rates = np.maximum(alone_rates, _highest_load(late, LOADS, terms.percentile) * pace)
        shared_rates = np.maximum(shared_rates, _highest_load(shared, LOADS, terms.percentile) * pace)
    return alone_rates, shared_rates


def _highest_load(late: Floats, tried: Sequence[float], percentile: float) -> Floats:
    """The utilisation at which the late share reaches its limit; ``late`` has the tried ones along the first axis."""
    allowed = 1.0 - percentile / 100.0
    rising = np.maximum.accumulate(late, axis=0)
    loads = np.asarray(tried)
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


def _careful_launch_s(surface: Surface, terms: CapacityTerms, sms: Sequence[int]) -> Floats:
    """(SM, quota): launch times, so far up their interval as is asked."""
    spreads = np.array([surface.launch_spread(sm) for sm in sms])
    careful = (1.0 + terms.launch_edge * spreads) * (1.0 + terms.margin)
    result: Floats = careful[:, None] * _launch_times_s(surface)[None, :]
    return result


def _rising(rates: Floats) -> Floats:
    """Never falling with quota: where the period jumps, a quota counts as the worst of all larger ones."""
    result: Floats = np.minimum.accumulate(rates[:, ::-1], axis=1)[:, ::-1]
    return result


def _padded(grid: Floats, absent: float) -> tuple[tuple[float, ...], ...]:
    """One value for each whole quota 0..100; below the least quota there is no slice."""
    head = (absent,) * MIN_TIME_QUOTA_PERCENT
    return tuple((*head, *(float(value) for value in line)) for line in grid)
