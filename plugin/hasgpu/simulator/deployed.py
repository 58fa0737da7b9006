"""Process simulator: one function in the simulated cluster: its pods, its requests, what it has cost. Plain state."""

from __future__ import annotations

from dataclasses import dataclass, field

from hasgpu.model.keys import RevisionKey

from .balancer import Balancer
from .functions_file import FunctionSpec
from .pod import Pod
from .requests import Requests


@dataclass(slots=True)
class Account:
    """An integral over time of something that changes in steps, up to a horizon."""

    until_s: float
    total: float = 0.0
    _rate: float = 0.0
    _since_s: float = 0.0

    def change(self, rate: float, now: float) -> None:
        """The rate from now on."""
        at = min(now, self.until_s)
        self.total += self._rate * (at - self._since_s)
        self._rate, self._since_s = rate, at


@dataclass(slots=True)
class Changes:
    """Decisions that became deeds."""

    vertical: int = 0
    out: int = 0
    into: int = 0


@dataclass(slots=True)
class Sample:
    """The state of one second, for the plots."""

    at_s: float
    requests: int
    allocated: float
    pods: int
    ready: int


@dataclass(slots=True)
class Deployed:
    """``pods`` are all that hold a slice, also those that drain."""

    spec: FunctionSpec
    requests: Requests
    balancer: Balancer
    allocated: Account
    hosts: Account
    """GPUs it has pods on."""
    pods: list[Pod] = field(default_factory=list)
    changes: Changes = field(default_factory=Changes)
    samples: list[Sample] = field(default_factory=list)
    busy_gone: float = 0.0
    """GPU-seconds of pods that are gone."""
    borrowed_gone: float = 0.0
    awaits_first: bool = False
    """The last period was without requests: the activator tells of the next one at once."""
    told_first: int = 0
    """Requests of this period that it has told so."""
    _counted: int = 0
    _borrowed: float = 0.0

    @property
    def key(self) -> RevisionKey:
        """Its revision."""
        return self.spec.key

    def staying(self) -> list[Pod]:
        """Pods that do not drain."""
        return [pod for pod in self.pods if not pod.terminating]

    def share(self) -> float:
        """GPUs allocated now: Σ SM x quota as laid."""
        return sum(pod.sm_percent * pod.laid_percent for pod in self.pods) / 1e4

    def busy(self) -> float:
        """GPU-seconds used: SM share x busy time."""
        return self.busy_gone + sum(pod.sm_percent * pod.busy_s for pod in self.pods) / 100.0

    def borrowed(self) -> float:
        """GPU-seconds used of idle time that others in its rows lent."""
        return self.borrowed_gone + sum(pod.sm_percent * pod.borrowed_s for pod in self.pods) / 100.0

    def new_borrowed(self) -> float:
        """The same since this was asked last."""
        borrowed = self.borrowed()
        new, self._borrowed = borrowed - self._borrowed, borrowed
        return new

    def new_requests(self) -> int:
        """Requests since this was asked last."""
        arrived = self.balancer.arrived
        new, self._counted = arrived - self._counted, arrived
        return new
