"""Process cli: prints the table of scores, line by line as they become ready."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from hasgpu.fitter.reference_file import packaged_reference
from hasgpu.fitter.scores import Score, scores

from .profile_words import bar

_HEAD = ("protocol", "measure", "value", "anchor", "goal", "median", "P95", "coverage %", "met")


def print_scores(data: Path, aside: Path | None, only: tuple[str, ...], output: Path | None) -> None:
    """The table on standard output; as JSON into a file where one is named."""
    click.echo(_row(_HEAD))
    found: list[Score] = []
    for score in scores(data, aside, packaged_reference(), only, bar):
        found.append(score)
        click.echo(_row(_texts(score)))
    if output is not None:
        output.write_text(json.dumps([{**asdict(score), "met": score.met} for score in found], indent=2) + "\n")


def _texts(score: Score) -> tuple[str, ...]:
    figures = (score.value, score.anchor, score.goal, score.median, score.p95)
    digits = 3 if "pinball" in score.measure else 2
    shown = ("-" if figure is None else f"{figure:.{digits}f}" for figure in figures)
    covers = "-" if score.coverage_percent is None else f"{score.coverage_percent:.1f}"
    return (score.protocol, score.measure, *shown, covers, "yes" if score.met else "no")


def _row(texts: tuple[str, ...]) -> str:
    first, *others = texts
    return f"{first:<42}" + "".join(f"{text:>12}" for text in others)
