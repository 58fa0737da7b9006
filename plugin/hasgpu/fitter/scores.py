"""Process fitter: the table of scores: protocols beside anchors and goals. Runs protocols; prints nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hasgpu.prediction.reference import Reference

from . import protocols
from .errors import FitError
from .forecast_bench import LOADS, forecast_scores
from .forecast_pace import FUNCTIONS, GOAL_US, forecast_paces
from .measured import MeasuredModel, read_models
from .protocols import Errors

PROTOCOLS: tuple[str, ...] = ("random", "sm", "quota", "families", "aside", "forecast")
_FAMILY_ANCHORS = {0: (49.0, None), 3: (13.7, None), 12: (7.5, 7.0), 25: (5.9, 5.5), 116: (4.9, 4.6)}
_ASIDE_ANCHORS = {0: (18.3, 17.0), 3: (9.4, 9.0), 12: (5.4, 5.2), 25: (4.3, 4.2), 116: (3.3, 3.2)}

Bar = Callable[[str], AbstractContextManager[Callable[[float], None]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One line of the table; None where a figure has no meaning for the protocol."""

    protocol: str
    measure: str
    value: float
    anchor: float | None
    goal: float | None
    median: float | None = None
    p95: float | None = None
    coverage_percent: float | None
    coverage_goal: tuple[float, float] = (88.0, 92.0)

    @property
    def met(self) -> bool:
        """True where value and coverage are both within their goals."""
        low, high = self.coverage_goal
        covers = self.coverage_percent is None or low <= self.coverage_percent <= high
        return covers and (self.goal is None or self.value <= self.goal)


def scores(data: Path, aside: Path | None, reference: Reference, only: Sequence[str], bar: Bar) -> Iterator[Score]:
    """The lines, as they become ready."""
    unknown = sorted(set(only) - set(PROTOCOLS))
    if unknown:
        raise FitError(f"no protocol {unknown[0]!r}; there are: {', '.join(PROTOCOLS)}")
    wanted = tuple(only) or PROTOCOLS
    tables = data / "open" if (data / "open").is_dir() else data
    models = read_models(tables)
    yield from _of_models(models, [name for name in wanted if name in PROTOCOLS[:4]], bar)
    if "aside" in wanted:
        unseen = [m for m in (read_models(aside) if aside else models) if m.name not in reference.models]
        if unseen:
            with bar(f"{len(unseen)} models kept aside") as told:
                found = protocols.kept_aside(reference, unseen, told)
            yield from _lines(f"kept aside ({len(unseen)} models)", found, _ASIDE_ANCHORS)
    if "forecast" in wanted:
        workloads = tables.parent / "workloads"
        if workloads.is_dir():
            with bar("load forecasts") as told:
                yield from _forecasts(workloads, told)
        yield from _paces()


def _of_models(models: Sequence[MeasuredModel], wanted: Iterable[str], bar: Bar) -> Iterator[Score]:
    for name in wanted:
        match name:
            case "random":
                with bar("random 80/10/10") as told:
                    errors = protocols.random_split(models, told)
                yield _line("random 80/10/10", errors, 3.17, 3.1)
            case "sm" | "quota":
                unseen = protocols.UNSEEN_SMS if name == "sm" else protocols.UNSEEN_QUOTAS
                what = f"unseen {'SM' if name == 'sm' else name} {unseen}"
                with bar(what) as told:
                    errors = protocols.unseen_configurations(models, name, told)
                anchor, goal = (3.59, 3.5) if name == "sm" else (6.29, 6.0)
                yield _line(what, errors, anchor, goal)
            case "families" if len({model.family for model in models}) >= protocols.FAMILY_FOLDS:
                with bar("families left out") as told:
                    found = protocols.families_left_out(models, told)
                yield from _lines("families left out", found, _FAMILY_ANCHORS)


def _lines(
    what: str, found: dict[int, Errors], anchors: Mapping[int, tuple[float | None, float | None]]
) -> Iterator[Score]:
    for cells, errors in found.items():
        anchor, goal = anchors.get(cells, (None, None))
        yield _line(f"{what}, {cells} cells", errors, anchor, goal)


def _line(what: str, errors: Errors, anchor: float | None, goal: float | None) -> Score:
    return Score(
        protocol=what,
        measure="MAPE %",
        value=errors.mape_percent,
        anchor=anchor,
        goal=goal,
        median=errors.quantile_percent(0.5),
        p95=errors.quantile_percent(0.95),
        coverage_percent=errors.coverage_percent,
    )


def _forecasts(workloads: Path, told: Callable[[float], None]) -> Iterator[Score]:
    for load in LOADS:
        found = forecast_scores(workloads, load)
        told((LOADS.index(load) + 1) / len(LOADS))
        yield Score(
            protocol=f"forecast, {load.name}",
            measure="P95 pinball",
            value=found.pinball,
            anchor=load.anchor,
            goal=load.goal,
            coverage_percent=found.coverage_percent,
            coverage_goal=load.coverage_goal,
        )


def _paces() -> Iterator[Score]:
    for part, taken_us in forecast_paces().items():
        yield Score(
            protocol=f"tick of {FUNCTIONS:,}: {part}",
            measure="CPU us",
            value=float(np.median(taken_us)),
            anchor=None,
            goal=GOAL_US if part == "all" else None,
            median=float(np.median(taken_us)),
            p95=float(np.quantile(taken_us, 0.95)),
            coverage_percent=None,
        )
