"""Process simulator: the two ways a quota is enforced, and how pods slow each other down. Pure.

gpu-time: a pod has its lane of the row's time-table, and work flows there and, by time it saved, a grace longer, which
        a row mate waits for. Where rows lend (row policy ``borrow``), idle slots go to mates that wait.
launch: kernels are queued ahead and run on outside the slots, so an inference takes what was measured at its quota,
and longer where row mates keep the same SMs busy: its GPU part shares them with theirs.
Interference is what pods of other rows of the GPU add while they run (caches, memory bandwidth).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from hasgpu.model.profile import Gate

from .lane import OPEN, Lane, lay
from .pod import Pod
from .shared_row import SharedRow
from .truth import Truth

RowPolicy = Literal["slots", "borrow"]
"""What becomes of idle time in a row: lost, or lent. As on the node (config-hasgpu)."""
_CLOSED = Lane(1.0, ())


@dataclass(slots=True)
class Row:
    """Pods that share one SM lane of a GPU."""

    pods: list[Pod] = field(default_factory=list)
    shared: SharedRow = field(default_factory=SharedRow)
    """Used where one pod's work may delay another's."""


@dataclass(slots=True)
class Device:
    """One GPU's rows."""

    rows: dict[int, Row] = field(default_factory=dict)

    def pods(self) -> list[Pod]:
        """All pods on it."""
        return [pod for row in self.rows.values() for pod in row.pods]


class Gates:
    """Lays rows under one of the gates."""

    def __init__(
        self,
        gate: Gate,
        window_s: float,
        interference: float,
        rows: RowPolicy = "slots",
        rest_s: float = math.inf,
        grace_s: float = 0.0,
    ) -> None:
        self._gate, self._window_s, self._interference, self._rest_s = gate, window_s, interference, rest_s
        self._grace_s = grace_s
        self._lends = rows == "borrow" and gate == "gpu-time"
        self.paced = gate == "launch" or interference > 0.0
        """True where what runs beside a pod on its GPU changes its pace."""

    def lay(self, device: Device, row: Row, truths: Sequence[tuple[Pod, Truth, int]], now: float) -> None:
        """Applies the row's laid quotas from now on; ``truths`` tells each pod's truth and batch size."""
        lanes = (
            lay([(pod.key.uid, pod.laid_percent) for pod in row.pods], self._window_s, self._grace_s)
            if self._gate == "gpu-time"
            else {pod.key.uid: OPEN if pod.laid_percent else _CLOSED for pod in row.pods}
        )
        shared = self._lends or (
            self._gate == "gpu-time" and self._grace_s > 0.0 and sum(1 for pod in row.pods if pod.laid_percent) > 1
        )
        row.shared.advance(now)
        for pod, truth, batch_size in truths:
            seconds, work = self._seconds(pod, truth, batch_size), _work(pod, truth, batch_size)
            together = row.shared if shared and pod.laid_percent else None
            pod.relay(now, lanes[pod.key.uid], seconds, work, together)
            pod.rest_s = self._rest_s if self._gate == "launch" else math.inf
            if self.paced:
                pod.pace = lambda each, at: self._pace(device, row, each, at)
        row.shared.lay(row.pods if shared else (), lanes, now, lends=self._lends, grace_s=self._grace_s)

    def _seconds(self, pod: Pod, truth: Truth, batch_size: int) -> Sequence[float]:
        if self._gate == "gpu-time" or not pod.laid_percent:
            return _work(pod, truth, batch_size)
        return (0.0, *(truth.launch_s(n, pod.sm_percent, pod.laid_percent) for n in range(1, batch_size + 1)))

    def _pace(self, device: Device, row: Row, pod: Pod, at: float) -> float:
        factor = 1.0
        if self._gate == "launch":
            mates = sum(_gpu_part(mate) for mate in row.pods if mate is not pod and mate.running(at))
            factor = max(1.0, _gpu_part(pod) * (1.0 + mates))
        if self._interference > 0.0:
            beside = sum(
                max((each.sm_percent for each in other.pods if each.running(at)), default=0)
                for other in device.rows.values()
                if other is not row
            )
            factor *= 1.0 + self._interference * min(1.0, beside / 100.0)
        return factor


def _work(pod: Pod, truth: Truth, batch_size: int) -> Sequence[float]:
    return (0.0, *(truth.work_s(n, pod.sm_percent) for n in range(1, batch_size + 1)))


def _gpu_part(pod: Pod) -> float:
    """The part of an inference in which it keeps its SMs busy."""
    return min(1.0, pod.work_of[1] / pod.seconds_of[1])
