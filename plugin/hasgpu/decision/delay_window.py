"""The largest value of the last seconds: what holds back a scale-down. Pure; told the time; one thread owns it.

Reference: knative/serving pkg/autoscaler/aggregation/max.
"""

from __future__ import annotations

import math
from collections import deque


class DelayWindow:
    """Maxima in falling order, so that recording and reading cost O(1) amortised."""

    __slots__ = ("_granularity_s", "_maxima", "_size")

    def __init__(self, duration_s: float, granularity_s: int) -> None:
        self._size = math.ceil(duration_s / granularity_s)
        self._granularity_s = granularity_s
        self._maxima: deque[tuple[int, int]] = deque()

    def record(self, now: float, value: int) -> None:
        """Add a value; two of the same interval count as the larger."""
        slot, maxima = int(now // self._granularity_s), self._maxima
        while maxima and value >= maxima[-1][1]:
            maxima.pop()
        while maxima and slot - maxima[0][0] >= self._size:
            maxima.popleft()
        if maxima and maxima[-1][0] == slot:
            value = max(value, maxima.pop()[1])
        maxima.append((slot, value))

    def current(self) -> int:
        """The largest value still in the window; raises IndexError before the first ``record``."""
        return self._maxima[0][1]
