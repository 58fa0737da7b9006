"""Arrival times, drawn from a seed. Pure: no clock, no network."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True, order=True)
class Arrival:
    """One request to be sent: seconds after the start, and to which function."""

    due_s: float
    function: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """A span of constant mean rate."""

    start_s: float
    length_s: float
    requests_per_s: float


def paper_like_slots(count: int, *, length_s: float, low: float, high: float, seed: int) -> tuple[Slot, ...]:
    """A load like the paper's: ``count`` slots that swing between ``low`` and ``high`` requests/s, with noise.

    One swing for each 25 slots, at least one, then a third of the time at ``low``: growth and decline both occur,
    and decline lasts long enough for what is decided slowly.
    """
    chance = random.Random(seed)
    swings = max(1, count // 25)
    slots, swinging = [], max(1, count - count // 3)
    for index in range(count):
        wave = (1 - math.cos(2 * math.pi * swings * min(1.0, index / swinging))) / 2
        rate = low + (high - low) * wave + chance.gauss(0, (high - low) / 15) * (wave > 0)
        slots.append(Slot(start_s=index * length_s, length_s=length_s, requests_per_s=min(high, max(low, rate))))
    return tuple(slots)


def ebbing(slots: Sequence[Slot], count: int, requests_per_s: float) -> tuple[Slot, ...]:
    """The same, with the last ``count`` slots at a rate so low that fewer pods carry it."""
    kept = len(slots) - count
    return (*slots[:kept], *(replace(slot, requests_per_s=requests_per_s) for slot in slots[kept:]))


def poisson(function: str, slots: Sequence[Slot], seed: int) -> tuple[Arrival, ...]:
    """Poisson arrivals within each slot."""
    chance = random.Random(f"{function}/{seed}")
    arrivals = []
    for slot in slots:
        at = chance.expovariate(slot.requests_per_s) if slot.requests_per_s > 0 else slot.length_s
        while at < slot.length_s:
            arrivals.append(Arrival(slot.start_s + at, function))
            at += chance.expovariate(slot.requests_per_s)
    return tuple(arrivals)


def merged(streams: Iterable[Sequence[Arrival]]) -> tuple[Arrival, ...]:
    """All streams in the order of their due times."""
    return tuple(sorted(arrival for stream in streams for arrival in stream))
