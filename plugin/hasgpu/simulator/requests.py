"""Process simulator: the requests of one function: when each came and was done, and the chance that belongs to it."""

from __future__ import annotations

import copy
import math
from array import array

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Requests:
    """Indexed in the order of arrival. ``finished_s`` is infinite while nobody knows."""

    __slots__ = ("_oldest", "arrived_s", "cold", "count", "finished_s", "noise", "overhead_s", "second", "toss")

    def __init__(self, arrived_s: Floats, noise: Floats, toss: Floats, second: Floats, overhead_s: Floats) -> None:
        self.count = len(arrived_s)
        self.arrived_s = array("d", arrived_s.tobytes())
        self.noise = array("d", noise.tobytes())
        """How much longer than usual the request's inference takes."""
        self.toss, self.second = array("d", toss.tobytes()), array("d", second.tobytes())
        """The balancer's two choices."""
        self.finished_s = array("d", [math.inf]) * self.count
        self.overhead_s = overhead_s
        """What each spends outside the GPU."""
        self.cold = 0
        """Requests that met no ready pod."""
        self._oldest = 0

    def unserved(self) -> Requests:
        """The same ones with the same luck, before anybody served them."""
        fresh = copy.copy(self)
        fresh.finished_s = array("d", [math.inf]) * self.count
        fresh.cold = fresh._oldest = 0
        return fresh

    def arrivals(self) -> Floats:
        """All arrival times."""
        return np.frombuffer(self.arrived_s, dtype=np.float64)

    def finishes(self) -> Floats:
        """All completion times on the GPU."""
        return np.frombuffer(self.finished_s, dtype=np.float64)

    def next_from(self, index: int, until_s: float) -> int:
        """The first request from ``index`` on that comes at or after ``until_s``."""
        return index + int(np.searchsorted(self.arrivals()[index:], until_s))

    def in_flight_mean(self, arrived: int, from_s: float, to_s: float) -> float:
        """Mean number of requests between arrival and response over a span that has just ended."""
        finished, overhead, low = self.finished_s, self.overhead_s, self._oldest
        while low < arrived and finished[low] + overhead[low] <= from_s:
            low += 1
        self._oldest = low
        if low == arrived:
            return 0.0
        began = np.maximum(self.arrivals()[low:arrived], from_s)
        ended = np.minimum(self.finishes()[low:arrived] + overhead[low:arrived], to_s)
        return float(np.maximum(ended - began, 0.0).sum()) / (to_s - from_s)

    def all_done(self, arrived: int, now: float) -> bool:
        """True where every request so far is answered."""
        return arrived == self.count and not bool((self.finishes()[self._oldest :] > now).any())
