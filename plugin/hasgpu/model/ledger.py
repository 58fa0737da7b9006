"""The ledger entry of a pod: its slice as annotations, written by the allocator and read by the node agent."""

from __future__ import annotations

import re
from collections.abc import Mapping

from . import annotations as keys
from .gpu import GpuSlice
from .units import SmPartition, TimeQuota

_DIGITS = re.compile(r"\d{1,19}\Z")


def slice_annotations(entry: GpuSlice) -> dict[str, str]:
    """The annotations that say ``entry``; exactly the keys that ``parse_slice`` reads."""
    return {
        keys.SLICE_GPU: entry.gpu_uuid,
        keys.SLICE_ROW: str(entry.row),
        keys.SLICE_SM_PARTITION: str(entry.sm_partition.percent),
        keys.SLICE_GPU_MEMORY: str(entry.memory_bytes),
        keys.SLICE_TIME_QUOTA: str(entry.time_quota.percent),
        keys.SLICE_GENERATION: str(entry.generation),
    }


def parse_slice(annotations: Mapping[str, str]) -> GpuSlice | None:
    """The pod's slice; None where it has none yet; ValueError naming key and value where it is not a slice."""
    gpu_uuid = annotations.get(keys.SLICE_GPU)
    if not gpu_uuid:
        return None
    try:
        sm = SmPartition(_number(annotations, keys.SLICE_SM_PARTITION))
    except ValueError as error:
        raise ValueError(f"{keys.SLICE_SM_PARTITION}: {error}") from None
    try:
        quota = TimeQuota(_number(annotations, keys.SLICE_TIME_QUOTA))
    except ValueError as error:
        raise ValueError(f"{keys.SLICE_TIME_QUOTA}: {error}") from None
    return GpuSlice(
        gpu_uuid=gpu_uuid,
        row=_number(annotations, keys.SLICE_ROW),
        sm_partition=sm,
        time_quota=quota,
        memory_bytes=_number(annotations, keys.SLICE_GPU_MEMORY),
        generation=_number(annotations, keys.SLICE_GENERATION),
    )


def _number(annotations: Mapping[str, str], key: str) -> int:
    text = annotations.get(key, "")
    if not _DIGITS.match(text):
        raise ValueError(f"{key} must be a whole number, was: {text!r}")
    return int(text)
