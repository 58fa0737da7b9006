"""A latency profile: measured cells of one model (LatencyProfile, design §4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Gate = Literal["gpu-time", "launch"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One measured point."""

    batch: int
    sm_percent: int
    quota_percent: int
    latency_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """Cells measured on one GPU product under one gate."""

    gpu_product: str
    gate: Gate
    window_ms: float
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyProfile:
    """What is known of a model before it serves."""

    namespace: str
    name: str
    model: str
    memory_bytes: int | None
    measurements: tuple[Measurement, ...]

    def product_serving(self, gpu_product: str) -> str | None:
        """Whose cells serve a GPU product: its own, else those of the first that was measured; None without any."""
        measured = [each.gpu_product for each in self.measurements if each.cells]
        return gpu_product if gpu_product in measured else next(iter(measured), None)

    def measured_on(self, gpu_product: str) -> tuple[Measurement, ...]:
        """The measurements of one GPU product that have cells."""
        return tuple(each for each in self.measurements if each.cells and each.gpu_product == gpu_product)
