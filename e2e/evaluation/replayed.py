"""Evaluation: a policy that decides nothing: it lays the quotas of a log."""

from __future__ import annotations

from collections.abc import Sequence

from hasgpu.model.load import StatMessage
from hasgpu.simulator.cluster import Cluster
from hasgpu.simulator.policies.fixed_slice import fitted

SAMPLE_S = 2.0
"""Between two lines of the authors' logs."""


class Replayed:
    """One pod of each function, of one SM share."""

    tick_s: float | None = SAMPLE_S

    def __init__(self, sm_percent: int, quotas: Sequence[int]) -> None:
        self._sm_percent, self._quotas = sm_percent, quotas

    def start(self, cluster: Cluster) -> None:
        for key, function in cluster.functions.items():
            found = fitted(cluster.ledger(), self._sm_percent, self._quotas[0], function.spec.memory_bytes)
            assert found is not None
            cluster.start_pod(key, found, at_once=True)

    def on_stats(self, cluster: Cluster, stats: Sequence[StatMessage]) -> None:
        """It needs no telling."""

    def tick(self, cluster: Cluster) -> None:
        at = min(round(cluster.now / SAMPLE_S), len(self._quotas) - 1)
        for function in cluster.functions.values():
            for pod in function.pods:
                cluster.set_quota_now(pod, self._quotas[at])
