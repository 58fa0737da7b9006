"""What happened to the pods of the demo, as values. Pure: the watcher feeds it, summary and plot read it."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class PodState:
    """A pod at one moment. ``at_s`` counts from the start of the load."""

    at_s: float
    service: str
    pod: str
    pod_uid: str = ""
    sm_percent: int
    quota_percent: int
    ready: bool
    terminating: bool
    container_id: str
    restarts: int
    gone: bool = False

    @property
    def allocated(self) -> float:
        """GPUs that the slice takes: SM share x time share."""
        return 0.0 if self.gone else self.sm_percent * self.quota_percent / 1e4


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaChange:
    """A live change of one pod's time quota."""

    at_s: float
    service: str
    pod: str
    pod_uid: str
    old_percent: int
    new_percent: int
    same_container: bool
    """True where container id and restart count did not move."""


@dataclass(slots=True)
class Timeline:
    """All states in the order they were seen."""

    states: list[PodState] = field(default_factory=list)

    def add(self, state: PodState) -> None:
        """Keeps a state unless nothing changed for its pod."""
        last = self.last(state.pod)
        if last is None or _facts(last) != _facts(state):
            self.states.append(state)

    def last(self, pod: str) -> PodState | None:
        """The newest state of a pod."""
        return next((state for state in reversed(self.states) if state.pod == pod), None)

    def pods(self, service: str) -> tuple[str, ...]:
        """Pods of a service in order of appearance."""
        return tuple(dict.fromkeys(state.pod for state in self.states if state.service == service))

    def quota_changes(self) -> tuple[QuotaChange, ...]:
        """Changes of the quota of pods that were running before and after."""
        changes, before = [], dict[str, PodState]()
        for state in self.states:
            old = before.get(state.pod)
            if old and old.ready and not state.gone and old.quota_percent != state.quota_percent:
                same = (old.container_id, old.restarts) == (state.container_id, state.restarts)
                changes.append(
                    QuotaChange(
                        at_s=state.at_s,
                        service=state.service,
                        pod=state.pod,
                        pod_uid=state.pod_uid,
                        old_percent=old.quota_percent,
                        new_percent=state.quota_percent,
                        same_container=same and bool(state.container_id),
                    )
                )
            before[state.pod] = state
        return tuple(changes)

    def at(self, at_s: float, service: str) -> tuple[PodState, ...]:
        """The pods of a service that hold a slice at a moment."""
        newest = dict[str, PodState]()
        for state in self.states:
            if state.at_s <= at_s and state.service == service:
                newest[state.pod] = state
        return tuple(state for state in newest.values() if not state.gone and state.sm_percent > 0)

    def mean_allocated(self, service: str, start_s: float, end_s: float) -> float:
        """Mean GPUs allocated to a service between two moments."""
        edges = sorted({start_s, end_s, *(s.at_s for s in self.states if start_s < s.at_s < end_s)})
        area = sum(
            (right - left) * sum(state.allocated for state in self.at(left, service))
            for left, right in itertools.pairwise(edges)
        )
        return area / (end_s - start_s) if end_s > start_s else 0.0

    def ready_pods(self, at_s: float, service: str) -> int:
        """Pods ready and staying at a moment."""
        return sum(1 for state in self.at(at_s, service) if state.ready and not state.terminating)


def _facts(state: PodState) -> tuple[object, ...]:
    return (
        state.sm_percent,
        state.quota_percent,
        state.ready,
        state.terminating,
        state.container_id,
        state.restarts,
        state.gone,
    )
