"""Shares of a GPU as types: a percent can never be mistaken for a fraction."""

from __future__ import annotations

from dataclasses import dataclass

MIN_TIME_QUOTA_PERCENT = 5


@dataclass(frozen=True, slots=True, order=True)
class SmPartition:
    """A share of a GPU's SMs in whole percent, 1..100; fixed for a pod's life (CUDA fixes it at start)."""

    percent: int

    def __post_init__(self) -> None:
        if not 1 <= self.percent <= 100:
            raise ValueError(f"SM partition must be 1..100 percent, was: {self.percent}")

    @property
    def fraction(self) -> float:
        """The share as 0 < f <= 1."""
        return self.percent / 100.0


@dataclass(frozen=True, slots=True, order=True)
class TimeQuota:
    """A share of a row's time in whole percent: 0 (parked) or 5..100; live."""

    percent: int

    def __post_init__(self) -> None:
        if self.percent != 0 and not MIN_TIME_QUOTA_PERCENT <= self.percent <= 100:
            raise ValueError(f"time quota must be 0 or 5..100 percent, was: {self.percent}")

    @property
    def fraction(self) -> float:
        """The share as 0 <= f <= 1."""
        return self.percent / 100.0

    @property
    def parked(self) -> bool:
        """True where the gate is closed and only memory is kept."""
        return self.percent == 0


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaBounds:
    """The bounds a user sets for the live time quota; a low bound of 0 allows parked pods."""

    low: TimeQuota
    high: TimeQuota

    def __post_init__(self) -> None:
        if self.high.percent == 0:
            raise ValueError("time quota's upper bound must be at least 5 percent, was: 0")
        if self.low > self.high:
            raise ValueError(
                f"time quota's lower bound {self.low.percent}% is above its upper bound {self.high.percent}%"
            )
