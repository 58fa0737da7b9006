"""Process simulator: one function on rows of its own, tried ahead of a run: what if its pods had this quota?

The same pods, balancer and lanes as in a run, and the same luck; a clone is tried, then the chosen quota is served.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from hasgpu.model.gpu import GpuSlice
from hasgpu.model.keys import PodKey
from hasgpu.model.units import SmPartition, TimeQuota

from .balancer import Balancer
from .functions_file import FunctionSpec
from .lane import OPEN, Lane, lay
from .pod import Pod
from .requests import Requests
from .run import TIMEOUT_S, Setup, drawn_requests


@dataclass(frozen=True, slots=True)
class TrialEnd:
    """How a trial went."""

    late_share: float


class Trial:
    """``pods`` pods of one SM share, each alone in its row."""

    def __init__(
        self, setup: Setup, spec: FunctionSpec, sm_percent: int, pods: int, drawn: Requests | None = None
    ) -> None:
        """``drawn``: the function's requests, where they were drawn before."""
        self._setup, self._spec, self._sm = setup, spec, sm_percent
        requests = drawn_requests(setup, spec) if drawn is None else drawn.unserved()
        self._balancer = Balancer(requests)
        self._now = 0.0
        self._ended, self._ended_late = 0, 0
        """The first so many requests are answered, and so many of them late."""
        for number in range(pods):
            entry = GpuSlice(
                gpu_uuid=f"trial-{number}",
                row=0,
                sm_partition=SmPartition(sm_percent),
                time_quota=TimeQuota(100),
                memory_bytes=spec.memory_bytes,
                generation=1,
            )
            key = PodKey("trial", f"{number}", f"{number}")
            pod = Pod(key, spec.key, entry, requests, spec.intent.batch_size)
            pod.seconds_of = pod.work_of = self._work()
            pod.serves_from(0.0)
            self._balancer.add(pod, 0.0)

    def serve(self, quota: int, until_s: float) -> None:
        """Serves with a quota up to a time."""
        self._set(self._balancer, quota)
        self._balancer.admit(until_s)
        self._now = until_s

    def late_if(self, quota: int, until_s: float) -> int:
        """Late requests among those that come up to a time, would all of them be served with a quota."""
        balancer = self._balancer
        first = balancer.arrived
        clone = copy.copy(balancer)
        clone.requests = copy.copy(balancer.requests)
        clone.requests.finished_s = copy.copy(balancer.requests.finished_s)
        clone.pods = [self._clone(pod, clone.requests) for pod in balancer.pods]
        self._set(clone, quota)
        clone.admit(until_s)
        for pod in clone.pods:
            pod.advance(until_s + TIMEOUT_S)
        return int((self._latencies(clone.requests)[first : clone.arrived] > self._spec.slo_s).sum())

    def late(self) -> int:
        """Requests so far that are late whatever comes."""
        requests, first, last = self._balancer.requests, self._ended, self._balancer.arrived
        finishes = requests.finishes()[first:last]
        taken = np.minimum(finishes, self._now) - requests.arrivals()[first:last] + requests.overhead_s[first:last]
        late = taken > self._spec.slo_s
        still_open = finishes > self._now
        ended = int(still_open.argmax()) if still_open.any() else len(finishes)
        total = self._ended_late + int(late.sum())
        self._ended, self._ended_late = first + ended, self._ended_late + int(late[:ended].sum())
        return total

    def end(self) -> TrialEnd:
        """All that is left is served with the last quota."""
        for pod in self._balancer.pods:
            pod.advance(self._now + TIMEOUT_S)
        late = self._latencies(self._balancer.requests) > self._spec.slo_s
        return TrialEnd(late_share=float(late.mean()) if late.size else 0.0)

    def _latencies(self, requests: Requests) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        return requests.finishes() - requests.arrivals() + requests.overhead_s

    def _clone(self, pod: Pod, requests: Requests) -> Pod:
        clone = copy.copy(pod)
        clone.requests, clone.queue = requests, copy.copy(pod.queue)
        return clone

    def _set(self, balancer: Balancer, quota: int) -> None:
        given = self._setup
        lane = _lane(quota, given.window_s, given.grace_s) if given.gate == "gpu-time" else OPEN
        for pod in balancer.pods:
            pod.relay(self._now, lane, self._seconds(quota), self._work())

    def _seconds(self, quota: int) -> tuple[float, ...]:
        if self._setup.gate == "gpu-time":
            return self._work()
        truth, size = self._spec.truth, self._spec.intent.batch_size
        return (0.0, *(truth.launch_s(n, self._sm, quota) for n in range(1, size + 1)))

    def _work(self) -> tuple[float, ...]:
        truth, size = self._spec.truth, self._spec.intent.batch_size
        return (0.0, *(truth.work_s(n, self._sm) for n in range(1, size + 1)))


@lru_cache(maxsize=1000)
def _lane(quota: int, window_s: float, grace_s: float) -> Lane:
    """Of a pod that is alone in its row."""
    return lay([("", quota)], window_s, grace_s)[""]
