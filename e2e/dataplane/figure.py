"""One measured number beside its goal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """What was measured, what it should be, and what stands beside it."""

    name: str
    value: float
    unit: str
    goal: float
    least: bool = False
    """The goal is a lower bound."""
    beside: str = ""
    """The same without the shim, the spread, the number of samples."""

    @property
    def met(self) -> bool:
        return self.value >= self.goal if self.least else self.value <= self.goal

    def as_row(self) -> str:
        """A line of the table."""
        sign = ">=" if self.least else "<="
        verdict = "met" if self.met else "MISSED"
        return f"| {self.name} | {self.value:.3g} {self.unit} | {sign} {self.goal:g} | {verdict} | {self.beside} |"

    def as_record(self) -> dict[str, object]:
        """The same for machines."""
        return asdict(self) | {"met": self.met}


def quantile(values: Sequence[float], part: float) -> float:
    """The value that ``part`` of the sorted values do not exceed; NaN where there are none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))] if ordered else float("nan")
