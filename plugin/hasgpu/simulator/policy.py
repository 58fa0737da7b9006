"""Process simulator: what a policy is: told the load, asked to act. Its rivals and ours stand in ``policies/``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from hasgpu.model.load import StatMessage

from .cluster import Cluster


class Policy(Protocol):
    """Sees the cluster, never the truth."""

    @property
    def tick_s(self) -> float | None:
        """How often ``tick`` is called; None: never, the policy acts on stats alone."""

    def start(self, cluster: Cluster) -> None:
        """Every function has just been deployed: its first pod is there and ready (Knative's initial scale)."""

    def on_stats(self, cluster: Cluster, stats: Sequence[StatMessage]) -> None:
        """What the activators tell: once a second, and at once of the first request after a second without one."""

    def tick(self, cluster: Cluster) -> None:
        """Time has passed."""
