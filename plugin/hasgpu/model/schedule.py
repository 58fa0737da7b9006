"""A GPU's time-table as the node agent lays it into the schedule page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

RowPolicy = Literal["slots", "token", "borrow"]
"""How a row is shared: each pod in its slots; its quota of busy time at any instant; slots, idle ones lent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """A span of one period in which the pod's row is the pod's; nanoseconds from the period's start."""

    start_ns: int
    end_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleEntry:
    """One pod's part of a row. Its period is ``windows`` windows (k of design §6), shifted by ``phase`` windows."""

    pod_uid: str
    row: int
    quota_percent: int
    generation: int
    windows: int
    phase: int
    slots: tuple[Slot, ...]
    memory_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuSchedule:
    """The whole table of a GPU."""

    gpu_uuid: str
    window_ns: int
    rows: tuple[tuple[int, int, RowPolicy], ...]
    """(row, SM percent, policy)."""
    entries: tuple[ScheduleEntry, ...]
