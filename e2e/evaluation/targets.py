"""Evaluation: one goal of the evaluation, what was found, and whether that is enough; the table that stands first."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .job import table


@dataclass(frozen=True)
class Verdict:
    """``met`` is None where the figure has no goal or was not made here; ``why`` is told where it fails."""

    experiment: str
    goal: str
    found: str
    met: bool | None
    why: str = ""


@dataclass(frozen=True)
class Part:
    """What a section of the page says, and the goals it answers."""

    text: str
    verdicts: tuple[Verdict, ...] = ()


def section(title: str, *paragraphs: str, verdicts: Iterable[Verdict] = ()) -> Part:
    """A section under its title."""
    return Part("\n\n".join([f"## {title}", *paragraphs]), tuple(verdicts))


def target_table(verdicts: Iterable[Verdict]) -> str:
    """All goals."""
    said = {True: "met", False: "missed", None: "–"}
    lines = [[each.experiment, each.goal, each.found, said[each.met], each.why] for each in verdicts]
    return table(["experiment", "goal", "found (simulated)", "", "where it fails, and why"], lines)
