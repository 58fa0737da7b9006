"""A GPU as the allocator sees it, and what is placed on it."""

from __future__ import annotations

from dataclasses import dataclass

from .keys import PodKey, RevisionKey
from .units import SmPartition, TimeQuota


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One device of one node (the GPU object of design §4)."""

    uuid: str
    node: str
    product: str
    memory_bytes: int
    sm_count: int
    sm_step: int
    """SMs come in groups of this many."""
    mps_client_limit: int
    healthy: bool
    mps_ready: bool
    agent_address: str
    """host:port of the node's agent; empty where none has reported."""
    reachable: bool = True
    """The node's agent was heard in the last moments; else nobody knows what is applied, and nothing may grow."""

    def rounded_up(self, sm: SmPartition) -> SmPartition:
        """The least share not below ``sm`` that names a whole group of SMs.

        MPS rounds a percentage down, so k groups are asked for by the least percent that contains them:
        on 80 SMs in steps of 2, 11 % (8.8 SMs) becomes 13 % (10 SMs).
        """
        groups = (sm.percent - 1) * self.sm_count // (100 * self.sm_step) + 1
        if groups > self.sm_count // self.sm_step:
            return SmPartition(100)
        return SmPartition(-(-100 * groups * self.sm_step // self.sm_count))


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuSlice:
    """A pod's share of one GPU: the ledger entry held in the pod's annotations."""

    gpu_uuid: str
    row: int
    sm_partition: SmPartition
    time_quota: TimeQuota
    memory_bytes: int
    generation: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """A pod and its slice. A terminating pod counts until its agent has seen the last process go."""

    pod: PodKey
    revision: RevisionKey
    slice: GpuSlice
    processes: int = 1
    ready: bool = False
    terminating: bool = False
    priority: int = 0
    applied_generation: int = -1
    """The last generation the agent reported as applied; -1 where unknown."""
    applied_quota_percent: int = -1
    """The quota the agent reported as applied; -1 where unknown."""

    @property
    def held_quota_percent(self) -> int:
        """What the row must count: the larger of written and applied; a shrink frees room only once acknowledged.

        An agent that is ahead of what we read has laid what a leader before us wrote: that counts too.
        """
        if self.applied_generation == self.slice.generation:
            return self.slice.time_quota.percent
        return max(self.slice.time_quota.percent, self.applied_quota_percent)
