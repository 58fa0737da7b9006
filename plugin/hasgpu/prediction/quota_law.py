"""What a time quota does to work: the slots of the gpu-time gate. Pure arithmetic; knows no model and no queue.

A pod of quota q owns the first q·T of every period T. T is k windows, k the least that gives a slot of at least
LEAST_SLOT_S (design §6), or half a window where half a slot is still that long: so the agent lays them
(``decision.timetable``). Work is counted in seconds of busy GPU; outside its slot a pod does none, and in its slot
it does one second per second. All functions take numbers or numpy arrays that broadcast.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

LEAST_SLOT_S = 0.005
PHASES = 24
"""Instants of a period at which a request is tried: the middles of equal parts."""

_GRAIN = 1e-9
"""Keeps a whole number of slots from counting as one more by rounding."""


def period_s(quota: ArrayLike, window_s: float) -> Floats:
    """The period T in seconds of a quota (a fraction, 0 < q <= 1)."""
    share = np.asarray(quota, dtype=np.float64)
    windows = np.ceil(LEAST_SLOT_S / (share * window_s) - _GRAIN).clip(min=1.0)
    halved = share * window_s >= 2.0 * LEAST_SLOT_S - _GRAIN
    result: Floats = np.where(halved, 0.5, windows) * window_s
    return result


def work_done_s(at_s: ArrayLike, quota: ArrayLike, window_s: float, laid: ArrayLike | None = None) -> Floats:
    """Work a pod can do from the start of a slot until ``at_s`` seconds later; ``laid``: whose period it has."""
    share = np.asarray(quota, dtype=np.float64)
    period = period_s(share if laid is None else laid, window_s)
    at = np.asarray(at_s, dtype=np.float64)
    periods = np.floor(at / period)
    result: Floats = periods * share * period + np.minimum(at - periods * period, share * period)
    return result


def time_needed_s(work_s: ArrayLike, quota: ArrayLike, window_s: float) -> Floats:
    """Seconds from the start of a slot until ``work_s`` is done: the inverse of ``work_done_s``."""
    share = np.asarray(quota, dtype=np.float64)
    period = period_s(share, window_s)
    slot = share * period
    work = np.asarray(work_s, dtype=np.float64)
    full = np.ceil(work / slot - _GRAIN).clip(min=1.0) - 1.0
    result: Floats = full * period + (work - full * slot)
    return result


def latencies_s(work_s: ArrayLike, quota: ArrayLike, window_s: float) -> Floats:
    """Seconds from arrival to completion of lone work, for PHASES arrival instants along the last axis."""
    work = np.asarray(work_s, dtype=np.float64)[..., None]
    share = np.asarray(quota, dtype=np.float64)[..., None]
    arrival = phases_s(share, window_s)
    done_before = work_done_s(arrival, share, window_s)
    result: Floats = time_needed_s(done_before + work, share, window_s) - arrival
    return result


def phases_s(quota: Floats, window_s: float) -> Floats:
    """Arrival instants within a period; ``quota`` has a last axis of length 1 that they fill."""
    parts: Floats = (np.arange(PHASES) + 0.5) / PHASES
    return period_s(quota, window_s) * parts


def mean_latency_s(work_s: ArrayLike, quota: ArrayLike, window_s: float) -> Floats:
    """Mean seconds from arrival to completion of lone work."""
    result: Floats = latencies_s(work_s, quota, window_s).mean(axis=-1)
    return result


def work_from_latency_s(latency_s: float, quota: float, window_s: float) -> float:
    """The work whose mean latency under the gate is ``latency_s``: turns a measured cell into GPU time.

    A latency below what even no work would take (the mean wait for a slot) means the measurement was not
    gated as said; the result is then near 0 rather than an error, since the floor of the surface still holds.
    """
    low, high = 0.0, latency_s
    for _ in range(50):
        middle = (low + high) / 2.0
        if float(mean_latency_s(middle, quota, window_s)) < latency_s:
            low = middle
        else:
            high = middle
    return high
