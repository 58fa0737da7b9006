"""Process autoscaler: whether every activator is connected, to this replica or another. Told the time; no I/O.

An activator with nothing to tell is silent, and so is one that lost its connection. Silence may be believed only while
there are as many connections as activators that may hold requests. Connections are counted, not told apart: what an
address says depends on the cluster's network. Each replica tells the leader its number by the way that stats take.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

from hasgpu.cluster.metadata import condition
from hasgpu.cluster.objects import Pod
from hasgpu.model.keys import RevisionKey
from hasgpu.model.load import StatMessage

TOLD_S = 3.0
"""A replica silent for longer is gone, and its connections with it."""
DRAIN_S = 60.0
"""An activator that is not ready any more may still hold requests for so long."""


class Reporters:
    """``here``: connections of this replica. ``activators``: the pods, None where they are not known."""

    def __init__(
        self, key: RevisionKey, holder: str, here: Callable[[], int], activators: Callable[[], Iterable[Pod] | None]
    ) -> None:
        self.key, self._holder, self._here, self._activators = key, holder, here, activators
        self._lock = threading.Lock()
        self._elsewhere: dict[str, tuple[int, float]] = {}

    def message(self, now: float) -> StatMessage:
        """What this replica tells the leader."""
        return StatMessage(
            key=self.key,
            pod_name=self._holder,
            average_concurrent_requests=float(self._here()),
            average_proxied_concurrent_requests=0.0,
            request_count=0.0,
            proxied_request_count=0.0,
            process_uptime_s=0.0,
            timestamp_s=now,
        )

    def take(self, message: StatMessage, now: float) -> None:
        """Takes what another replica tells."""
        with self._lock:
            kept = {holder: each for holder, each in self._elsewhere.items() if now - each[1] <= TOLD_S}
            self._elsewhere = {**kept, message.pod_name: (int(message.average_concurrent_requests), now)}

    def complete(self, now: float) -> bool:
        """Whether silence may be believed."""
        pods = self._activators()
        if pods is None:
            return False
        expected = sum(_may_hold_requests(pod, now) for pod in pods)
        with self._lock:
            elsewhere = sum(count for count, at in self._elsewhere.values() if now - at <= TOLD_S)
        return 0 < expected <= self._here() + elsewhere


def _may_hold_requests(pod: Pod, now: float) -> bool:
    if pod.status.phase != "Running":
        return False
    ready = condition(pod.status.conditions, "Ready")
    if ready is None or ready.status == "True":
        return True
    return ready.last_transition_time is None or now - ready.last_transition_time.timestamp() < DRAIN_S
