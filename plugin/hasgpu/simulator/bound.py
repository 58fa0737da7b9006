"""Process simulator: what any policy must allocate at least, with any quota at any instant and start-ups for nothing.

A pod does one inference at a time, in slices it was allocated. So a request answered in time costs at least the least
SM x quota x time of an inference that meets its deadline. Under the gpu-time gate the quota cancels out: work is
work. Under the launch gate a quota may change on the way, so the lower convex hull over quotas is taken. With batches
each request bears its part of the cheapest batch, at the least noise of the run. With batch size 1, pods started for
nothing and GPUs enough, the bound is reached: each request gets a pod of its own; that is the exact optimum.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from .cluster import Cluster
from .deployed import Deployed
from .functions_file import FunctionSpec
from .result import latencies_s
from .run import Setup, untouched
from .truth import Truth

Floats = NDArray[np.float64]

_GRID = 4096
_QUOTAS = tuple(range(5, 101))


class LeastCost:
    """GPU-seconds of one request by the time it may take; infinite where no slice is so fast.

    Of what F.yaml says only the batch size binds every policy: SM partition, quota bounds and scale bounds don't count.
    """

    def __init__(self, spec: FunctionSpec, gate: str) -> None:
        self._slack_s = np.linspace(0.0, max(spec.slo_s - spec.overhead_s, 1e-6) * 2.0, _GRID)
        self._cost = np.full(_GRID, np.inf)
        hulls = _hulls(spec.truth, spec.intent.batch_size, gate)
        for seconds, cost in hulls:
            # Each grid point stands for all slacks up to the next one: the cost there is never above the true one.
            ahead = np.append(self._slack_s[1:], self._slack_s[-1])
            values = np.interp(ahead, seconds, cost)
            self._cost = np.minimum(self._cost, np.where(ahead >= seconds[0], values, np.inf))
        self.unhurried = float(min(cost[-1] for _, cost in hulls))
        """With all the time in the world, which is what the last grid point stands for."""
        self._cost[-1] = self.unhurried
        self._fastest_s = float(min(seconds[0] for seconds, _ in hulls))

    def of(self, slack_s: Floats) -> Floats:
        """By slack, never above the truth."""
        index = np.clip((slack_s / self._slack_s[1]).astype(np.int64), 0, _GRID - 1)
        result: Floats = np.where(slack_s >= self._fastest_s, self._cost[index], np.inf)
        return result


@lru_cache(maxsize=1000)
def _hulls(truth: Truth, batch_size: int, gate: str) -> tuple[tuple[Floats, Floats], ...]:
    """Seconds (rising) and GPU-seconds (falling) of one request's part, for each batch and SM share."""
    found = []
    for batch in range(1, batch_size + 1):
        for sm in range(1, 101):
            if gate == "gpu-time":
                work = truth.work_s(batch, sm)
                found.append((np.array([work]), np.array([sm / 100.0 * work / batch])))
            else:
                points = [(truth.launch_s(batch, sm, q), q) for q in _QUOTAS]
                found.append(_lower_hull([(seconds, sm * q / 1e4 * seconds / batch) for seconds, q in points]))
    return tuple(found)


def _lower_hull(points: list[tuple[float, float]]) -> tuple[Floats, Floats]:
    hull: list[tuple[float, float]] = []
    for point in sorted(points):
        while len(hull) > 1 and _above(hull[-2], hull[-1], point):
            hull.pop()
        hull.append(point)
    lowest = min(range(len(hull)), key=lambda index: hull[index][1])
    kept = hull[: lowest + 1]
    return np.array([each[0] for each in kept]), np.array([each[1] for each in kept])


def _above(first: tuple[float, float], middle: tuple[float, float], last: tuple[float, float]) -> bool:
    turn = (middle[0] - first[0]) * (last[1] - first[1]) - (middle[1] - first[1]) * (last[0] - first[0])
    return turn <= 0.0


def least_gpu_seconds(setup: Setup, function: Deployed) -> float:
    """What the requests that a run answered in time must have cost, whoever decided."""
    spec, requests = function.spec, function.requests
    noise = _noise(spec, np.frombuffer(requests.noise, dtype=np.float64))
    horizon_s = setup.workload.horizon_s
    arrived = requests.arrivals()
    counted = (latencies_s(function) <= spec.slo_s) & (arrived + spec.slo_s <= horizon_s)
    slack = (spec.slo_s - requests.overhead_s[counted]) / noise[counted]
    costs = LeastCost(spec, setup.gate).of(slack) * noise[counted]
    return float(costs[np.isfinite(costs)].sum())


def _noise(spec: FunctionSpec, noise: Floats) -> Floats:
    if spec.intent.batch_size == 1 or not noise.size:
        return noise
    return np.full(noise.size, noise.min())


def served_at_the_bound(setup: Setup) -> Cluster:
    """The world in which every request takes its cheapest slice: policy ``bound``."""
    cluster = untouched(setup)
    for function in cluster.functions.values():
        spec, requests = function.spec, function.requests
        noise = _noise(spec, np.frombuffer(requests.noise, dtype=np.float64))
        costs = LeastCost(spec, setup.gate)
        left_s = spec.slo_s - requests.overhead_s
        each = costs.of(left_s / noise) * noise
        in_time = np.isfinite(each)
        total = float(np.where(in_time, each, costs.unhurried * noise).sum())
        # In time where any slice is fast enough; when exactly does not matter to the bound.
        alone_s = spec.truth.work_s(1, 100) * noise
        just_s = 1e-6 * spec.slo_s
        taken = np.where(in_time, np.minimum(alone_s, left_s - just_s), np.maximum(alone_s, left_s + just_s))
        requests.finishes()[:] = requests.arrivals() + taken
        function.allocated.total = total
        function.busy_gone = total if setup.gate == "gpu-time" else 0.0
    return cluster
