"""Process simulator: GPUs, pods and the slow hands that act on them. What policies see and steer.

A policy's order is carried out as in the cluster: an API write, then the agent; a pod is created, starts, serves,
drains and only then gives its slice back. A slice that the ledger refuses is refused here too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from hasgpu.decision.ledger import Ledger
from hasgpu.model.gpu import Gpu, GpuSlice
from hasgpu.model.keys import PodKey, RevisionKey
from hasgpu.model.units import TimeQuota

from .agenda import Agenda
from .decisions_log import DecisionsLog
from .deployed import Account, Deployed
from .gates import Device, Gates, Row
from .pod import Pod


@dataclass(frozen=True, slots=True, kw_only=True)
class Delays:
    """How slow the hands are; defaults as seen on the test bed."""

    stat_period_s: float = 1.0
    stat_s: float = 0.01
    """From an activator to the autoscaler."""
    write_s: float = 0.02
    """An API write."""
    apply_s: float = 0.06
    """From the write to the agent's table, watch included."""
    acknowledge_s: float = 0.01
    create_s: float = 0.3
    """From more replicas to a pod that could be placed."""
    drain_s: float = 30.0
    """A deleted pod keeps its slice while its queue-proxy drains."""


class Cluster:
    """One run's world. Policies read it freely and change it by its verbs alone."""

    def __init__(
        self,
        gpus: tuple[Gpu, ...],
        functions: Mapping[RevisionKey, Deployed],
        gates: Gates,
        delays: Delays,
        agenda: Agenda,
        horizon_s: float,
    ) -> None:
        self.gpus, self.functions, self.gates, self.delays, self.agenda = gpus, functions, gates, delays, agenda
        self.now = 0.0
        self.log = DecisionsLog()
        self.hosts = Account(horizon_s)
        self.devices = {gpu.uuid: Device() for gpu in gpus}
        self._asked: dict[PodKey, tuple[int, int]] = {}
        self._made = 0

    def ledger(self, row_percent: int = 100) -> Ledger:
        """The books as of now; ``row_percent``: of each row so much is given away at most."""
        placements = (pod.placement() for function in self.functions.values() for pod in function.pods)
        return Ledger(self.gpus, placements, row_percent)

    def start_pod(self, revision: RevisionKey, wanted: GpuSlice, *, at_once: bool = False) -> Pod:
        """A new pod; ``at_once``: it was there before the run began. ValueError where its slice does not fit."""
        function = self.functions[revision]
        refused = self._refusal(wanted)
        if refused is not None:
            raise ValueError(f"{revision}: {refused}")
        self._made += 1
        key = PodKey(revision.namespace, f"{revision.name}-{self._made}", f"uid-{self._made}")
        spec = function.spec
        pod = Pod(key, revision, wanted, function.requests, spec.intent.batch_size, spec.priority)
        function.pods.append(pod)
        self._asked[key] = (wanted.time_quota.percent, wanted.generation)
        self.devices[wanted.gpu_uuid].rows.setdefault(wanted.row, Row()).pods.append(pod)
        self._lay(wanted.gpu_uuid, wanted.row)
        if at_once:
            self._serve(pod)
        else:
            function.changes.out += 1
            starts_s = self.delays.create_s + function.spec.startup_s
            self.agenda.at(self.now + starts_s, lambda _: self._serve(pod))
        return pod

    def write_quota(self, pod: Pod, percent: int) -> None:
        """A vertical change."""
        self.functions[pod.revision].changes.vertical += 1
        pod.slice = replace(pod.slice, time_quota=TimeQuota(percent), generation=pod.slice.generation + 1)
        asked = (percent, pod.slice.generation)
        self.agenda.at(self.now + self.delays.write_s + self.delays.apply_s, lambda _: self._apply(pod, asked))

    def set_quota_now(self, pod: Pod, percent: int) -> None:
        """A change without any delay: for comparators only, which no cluster could obey so fast."""
        if percent != pod.slice.time_quota.percent:
            self.functions[pod.revision].changes.vertical += 1
            pod.slice = replace(pod.slice, time_quota=TimeQuota(percent), generation=pod.slice.generation + 1)
            self._apply(pod, (percent, pod.slice.generation))

    def remove(self, pod: Pod) -> None:
        """A scale-in: no more requests for it, and its slice is free once it has drained."""
        if pod.terminating:
            return
        function = self.functions[pod.revision]
        function.changes.into += 1
        pod.terminating = True
        function.balancer.remove(pod)
        self.agenda.at(self.now + self.delays.drain_s, lambda _: self._leave(pod))

    def _refusal(self, wanted: GpuSlice) -> str | None:
        refused = self.ledger().refusal(wanted, 1)
        return None if refused is None else refused.text

    def _serve(self, pod: Pod) -> None:
        if pod.terminating:
            return
        pod.serves_from(self.now)
        self.functions[pod.revision].balancer.add(pod, self.now)

    def _apply(self, pod: Pod, asked: tuple[int, int]) -> None:
        if pod.key in self._asked and asked[1] > self._asked[pod.key][1]:
            self._asked[pod.key] = asked
            self._lay(pod.slice.gpu_uuid, pod.slice.row)

    def _leave(self, pod: Pod) -> None:
        pod.advance(self.now)
        ends_s = pod.free_s if pod.together is None or not pod.laid_percent else self.now
        if pod.running(self.now) and ends_s < float("inf"):
            self.agenda.at(max(ends_s, self.now + 0.1), lambda _: self._leave(pod))
            return
        function = self.functions[pod.revision]
        function.pods.remove(pod)
        function.busy_gone += pod.sm_percent * pod.busy_s / 100.0
        function.borrowed_gone += pod.sm_percent * pod.borrowed_s / 100.0
        device = self.devices[pod.slice.gpu_uuid]
        row = device.rows[pod.slice.row]
        row.pods.remove(pod)
        del self._asked[pod.key]
        self._settle(function)
        if row.pods:
            self._lay(pod.slice.gpu_uuid, pod.slice.row)
        else:
            del device.rows[pod.slice.row]
            self._settle(function)

    def _lay(self, gpu_uuid: str, number: int) -> None:
        """As the node agent does: shrinks first, then growth in order, never above 100 percent."""
        device = self.devices[gpu_uuid]
        row = device.rows[number]
        granted = {pod.key: min(pod.laid_percent, self._asked[pod.key][0]) for pod in row.pods}
        for pod in row.pods:
            more = min(self._asked[pod.key][0] - granted[pod.key], 100 - sum(granted.values()))
            granted[pod.key] += max(0, more)
            pod.laid_percent = granted[pod.key]
            self._acknowledge(pod, self._asked[pod.key][1])
        truths = [
            (pod, self.functions[pod.revision].spec.truth, self.functions[pod.revision].spec.intent.batch_size)
            for pod in row.pods
        ]
        self.gates.lay(device, row, truths, self.now)
        for revision in dict.fromkeys(pod.revision for pod in row.pods):
            self._settle(self.functions[revision])

    def _acknowledge(self, pod: Pod, generation: int) -> None:
        if generation > pod.laid_generation:

            def seen(_: float) -> None:
                pod.laid_generation = max(pod.laid_generation, generation)

            self.agenda.at(self.now + self.delays.acknowledge_s, seen)

    def _settle(self, function: Deployed) -> None:
        function.allocated.change(function.share(), self.now)
        function.hosts.change(len({pod.slice.gpu_uuid for pod in function.pods}), self.now)
        self.hosts.change(sum(1 for device in self.devices.values() if device.rows), self.now)
