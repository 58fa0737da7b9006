"""Process simulator: one run: arrivals, the cluster, a policy, virtual time. Same inputs and seed, same outcome."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from hasgpu.model.gpu import Gpu
from hasgpu.model.keys import RevisionKey
from hasgpu.model.load import StatMessage
from hasgpu.model.profile import Gate

from .agenda import Agenda
from .balancer import Balancer
from .cluster import Cluster, Delays
from .deployed import Account, Deployed, Sample
from .functions_file import FunctionSpec
from .gates import Gates, RowPolicy
from .policy import Policy
from .requests import Floats, Requests
from .workload import Workload, generator

TIMEOUT_S = 300.0
"""Knative's default: a request without an answer by then has failed."""
NOISE = 0.05
"""Standard deviation of the logarithm of an inference's duration."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What a run simulates, but for the policy."""

    functions: tuple[FunctionSpec, ...]
    workload: Workload
    gpus: tuple[Gpu, ...]
    gate: Gate = "gpu-time"
    rows: RowPolicy = "slots"
    seed: int = 0
    window_s: float = 0.04
    noise: float = NOISE
    overhead_noise: float = 0.0
    """The same of the time outside the GPU."""
    interference: float = 0.0
    rest_s: float = math.inf
    """Under the launch gate: after so long without work the quota does not slow a pod's next inference, as the
    authors' logs show and their tables, measured back to back, cannot. Infinite: it always does."""
    grace_s: float = 0.0
    """Under the gpu-time gate: how far past its slot a pod may spend time that it saved. The shim lets it ``GRACE_S``;
    capacity counts on none of it, and slots that are strict are the harder case."""
    delays: Delays = field(default_factory=Delays)

    @property
    def by_key(self) -> Mapping[RevisionKey, FunctionSpec]:
        """The functions by revision."""
        return {function.key: function for function in self.functions}


def simulated_gpus(count: int, product: str, memory_bytes: int = 16 << 30) -> tuple[Gpu, ...]:
    """GPUs as of a V100: 80 SMs in steps of 2."""
    return tuple(
        Gpu(
            uuid=f"GPU-{number:03d}",
            node=f"node-{number:03d}",
            product=product,
            memory_bytes=memory_bytes,
            sm_count=80,
            sm_step=2,
            mps_client_limit=48,
            healthy=True,
            mps_ready=True,
            agent_address="",
        )
        for number in range(count)
    )


def simulate(setup: Setup, policy: Policy) -> Cluster:
    """The world after the run."""
    run = _Run(setup, policy)
    run.go()
    return run.cluster


def untouched(setup: Setup) -> Cluster:
    """The world before a run, for what is not a policy."""
    return _Run(setup, None).cluster


def _deviation(setup: Setup, name: str, purpose: str, sigma: float, count: int) -> Floats:
    """Factors around one, one a request."""
    drawn: Floats = np.exp(generator(setup.seed, name, purpose).normal(-sigma * sigma / 2.0, sigma, count))
    return drawn


def drawn_requests(setup: Setup, spec: FunctionSpec) -> Requests:
    """A function's requests with the luck of the run's seed."""
    arrivals = setup.workload.arrivals[spec.name]
    count = len(arrivals)
    toss = generator(setup.seed, spec.name, "balancer").random((2, count))
    noise = _deviation(setup, spec.name, "noise", setup.noise, count)
    overhead_s = spec.overhead_s * _deviation(setup, spec.name, "overhead", setup.overhead_noise, count)
    return Requests(arrivals, noise, toss[0], toss[1], overhead_s)


class _Run:
    def __init__(self, setup: Setup, policy: Policy | None) -> None:
        self._setup = setup
        if policy is not None:
            self._policy = policy
        self._agenda = Agenda()
        self._end_s = setup.workload.horizon_s + TIMEOUT_S
        deployed = {spec.key: self._deployed(spec) for spec in setup.functions}
        self._functions = tuple(deployed.values())
        self.cluster = Cluster(
            setup.gpus,
            deployed,
            Gates(setup.gate, setup.window_s, setup.interference, setup.rows, setup.rest_s, setup.grace_s),
            setup.delays,
            self._agenda,
            setup.workload.horizon_s,
        )

    def go(self) -> None:
        self._policy.start(self.cluster)
        self._agenda.at(self._setup.delays.stat_period_s, self._report)
        for function in self._functions:
            self._await_first(function)
        if self._policy.tick_s is not None:
            self._agenda.at(self._policy.tick_s, self._tick)
        while not self._over():
            now = self._agenda.next_s()
            self._admit(now)
            self.cluster.now = now
            self._agenda.run_due(now)
        for function in self._functions:
            for pod in function.pods:
                pod.advance(self._end_s)
            function.allocated.change(0.0, self._end_s)
            function.hosts.change(0.0, self._end_s)
        self.cluster.hosts.change(0.0, self._end_s)

    def _over(self) -> bool:
        now = self.cluster.now
        if now < self._setup.workload.horizon_s:
            return False
        return now >= self._end_s or all(each.requests.all_done(each.balancer.arrived, now) for each in self._functions)

    def _deployed(self, spec: FunctionSpec) -> Deployed:
        requests = drawn_requests(self._setup, spec)
        horizon_s = self._setup.workload.horizon_s
        return Deployed(spec, requests, Balancer(requests), Account(horizon_s), Account(horizon_s))

    def _admit(self, until_s: float) -> None:
        paced = self.cluster.gates.paced
        meeting = [each for each in self._functions if paced or any(pod.together is not None for pod in each.pods)]
        if meeting:
            self._admit_in_order(meeting, until_s)
        for function in self._functions:
            function.balancer.admit(until_s)

    def _admit_in_order(self, functions: Sequence[Deployed], until_s: float) -> None:
        """Where pods of several functions act on each other, all arrivals are handled in one order."""
        arrivals: list[tuple[float, int]] = []
        for number, function in enumerate(functions):
            balancer = function.balancer
            if balancer.next_arrival_s() < until_s:
                last = balancer.requests.next_from(balancer.arrived, until_s)
                arrivals += [(at, number) for at in balancer.requests.arrived_s[balancer.arrived : last]]
        arrivals.sort()
        for at, number in arrivals:
            pod = functions[number].balancer.admit_one()
            if pod is not None and self.cluster.gates.paced:
                for each in self.cluster.devices[pod.slice.gpu_uuid].pods():
                    each.advance(at)
            elif pod is not None:
                pod.advance(at)

    def _await_first(self, function: Deployed) -> None:
        """After a period without any, the activator tells of the first request at once, as a concurrency of one."""
        first_s = function.balancer.next_arrival_s() + 1e-9
        function.awaits_first = True
        if first_s < math.inf:
            self._agenda.at(first_s, lambda now: self._first(function, now))

    def _first(self, function: Deployed, now: float) -> None:
        function.awaits_first, function.told_first = False, 1
        self._send([_told(function, 1.0, 1, now)])

    def _report(self, now: float) -> None:
        """All activators tell, each second, of the revisions that have something to tell."""
        period_s = self._setup.delays.stat_period_s
        told = []
        for function in self._functions:
            count, ready = function.new_requests(), len(function.balancer.pods)
            mean = function.requests.in_flight_mean(function.balancer.arrived, now - period_s, now)
            share = function.share() + function.new_borrowed() / period_s
            function.samples.append(Sample(now, count, share, len(function.pods), ready))
            if count or mean:
                # What was told of the first request is not told again.
                first, function.told_first = function.told_first, 0
                told.append(_told(function, max(0.0, mean - first), count - first, now))
            elif not function.awaits_first:
                self._await_first(function)
        self._send(told)
        self._agenda.at(now + period_s, self._report)

    def _send(self, told: Sequence[StatMessage]) -> None:
        at = self.cluster.now + self._setup.delays.stat_s
        self._agenda.at(at, lambda _: self._policy.on_stats(self.cluster, told))

    def _tick(self, now: float) -> None:
        self._policy.tick(self.cluster)
        assert self._policy.tick_s is not None
        self._agenda.at(now + self._policy.tick_s, self._tick)


def _told(function: Deployed, concurrency: float, count: int, now: float) -> StatMessage:
    return StatMessage(
        key=function.key,
        pod_name="activator",
        average_concurrent_requests=concurrency,
        average_proxied_concurrent_requests=0.0,
        request_count=float(count),
        proxied_request_count=0.0,
        process_uptime_s=now,
        timestamp_s=now,
    )
