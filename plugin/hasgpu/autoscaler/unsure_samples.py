"""Process autoscaler: samples of one revision that wait until nothing turned out to be missing. No I/O; told the time.

That an agent or an activator fell silent is noticed a moment after it did; what was sampled meanwhile is not true.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from .gpu_world import REPORT_FRESH_S
from .work_meter import WorkSample


@dataclass(slots=True)
class UnsureSamples:
    """Fed once a tick, by one thread."""

    _waiting: list[tuple[float, WorkSample]] = field(default_factory=list)

    def sure(self, fresh: Iterable[WorkSample], now: float) -> list[WorkSample]:
        """Takes what was just sampled; gives back what has waited as long as silence goes unnoticed."""
        self._waiting += [(now, sample) for sample in fresh]
        ripe = [sample for at_s, sample in self._waiting if now - at_s >= REPORT_FRESH_S]
        self._waiting = [each for each in self._waiting if now - each[0] < REPORT_FRESH_S]
        return ripe

    def drop(self) -> None:
        """Something was missing."""
        self._waiting.clear()
