"""Evaluation: what a pod asks for of which nothing is known but its size: any GPU will do."""

from __future__ import annotations

from hasgpu.decision.placement import SliceWish
from hasgpu.model.units import QuotaBounds, TimeQuota

ANYWHERE = SliceWish(
    sm_partition=None,
    quota=QuotaBounds(low=TimeQuota(5), high=TimeQuota(100)),
    memory_bytes=0,
    processes=1,
    gpu_product=None,
    nodes=None,
    tables={},
)
