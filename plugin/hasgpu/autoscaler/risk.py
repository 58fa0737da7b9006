"""Process autoscaler: from a quantile to standard deviations. Pure."""

from __future__ import annotations

from statistics import NormalDist


def deviations(quantile: float) -> float:
    """Standard deviations above the mean that so much of a normal distribution lies below: 0.95 is 1.645."""
    return NormalDist().inv_cdf(quantile)
