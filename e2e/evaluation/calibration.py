"""Evaluation: which of the authors' runs calibrate the simulator, and the three parameters that may be chosen.

Fixed before any held-out run is looked at: the time outside the GPU, its deviation, and a factor on what the
published policy thinks a slice carries. Each run's quota at its first request is an input, since the logs show that
the authors started them differently. The published policy is given the full table, as theirs was built from it.
"""

from __future__ import annotations

from dataclasses import dataclass

CALIBRATION = (("resnet", "rps", "2"), ("convnext", "rps", "1"), ("mobilenet", "rps", "1"))
HELD_OUT = (
    ("resnet", "rps", "3"),
    ("resnet", "rps", "4"),
    ("resnet", "rps", "5"),
    ("convnext", "rps", "2"),
    ("mobilenet", "rps", "2"),
    ("convnext", "stress", "2"),
    ("mobilenet", "stress", "1"),
)
OVERHEADS_MS = (62.0, 66.0, 70.0, 74.0)
DEVIATIONS = (0.08, 0.12, 0.16, 0.20)
CAPACITIES = (0.80, 0.86, 0.92, 1.0)


@dataclass(frozen=True)
class Parameters:
    """The three."""

    overhead_ms: float
    deviation: float
    capacity: float
