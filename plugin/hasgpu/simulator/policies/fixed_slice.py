"""Process simulator: room for a pod whose slice is given: the best fit by the allocator's own rules. Pure."""

from __future__ import annotations

from hasgpu.decision.ledger import Ledger
from hasgpu.decision.placement import Chosen, SliceWish, choose_slice
from hasgpu.model.gpu import GpuSlice
from hasgpu.model.units import QuotaBounds, SmPartition, TimeQuota


def fitted(ledger: Ledger, sm_percent: int, quota_percent: int, memory_bytes: int) -> GpuSlice | None:
    """Where a pod of this size goes; None where nowhere."""
    quota = TimeQuota(quota_percent)
    wish = SliceWish(
        sm_partition=SmPartition(sm_percent),
        quota=QuotaBounds(low=quota, high=quota),
        memory_bytes=memory_bytes,
        processes=1,
        gpu_product=None,
        nodes=None,
        tables={},
    )
    found = choose_slice(ledger, wish, 0.0, headroom=1.0, unprofiled_sm_percent=sm_percent)
    return found.slice if isinstance(found, Chosen) else None
