"""Process fitter: how good load forecasts are: P95 quantiles, one 5 s slot ahead, on public traces. Reads files.

The first part of each trace only warms the forecast up. Nothing is tuned on the scored part.
"""

from __future__ import annotations

import csv
import gzip
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hasgpu.prediction.forecast import Levels, Reals, Slots

Floats = NDArray[np.float64]

SLOT_S = 5.0
QUANTILE = 0.95
_SEED = 0
_THINNED_TO = 10.6 / 63.6
_WARM_PART = 0.3
_TWITTER_SLOTS = 2 * 17280
"""Two days: enough for 24,000 scored slots."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """A trace, the published controller's score on it, and the goal."""

    name: str
    anchor: float | None
    goal: float | None
    coverage_goal: tuple[float, float] = (94.0, 96.0)


LOADS: tuple[Load, ...] = (
    Load(name="Twitter", anchor=0.693, goal=0.62),
    Load(name="Twitter thinned to 10.6/s", anchor=0.320, goal=0.19),
    Load(name="Azure conv", anchor=0.307, goal=0.125),
    Load(name="Azure code", anchor=None, goal=None, coverage_goal=(93.0, 97.0)),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ForecastScore:
    """Mean pinball loss of the P95 in requests/s, and how often it held."""

    pinball: float
    coverage_percent: float


def forecast_scores(folder: Path, load: Load) -> ForecastScore:
    """One trace, replayed slot by slot through the forecast that the autoscaler runs."""
    counts = second_counts(folder, load)
    rates = counts.mean(axis=1)
    levels, second_s = Levels.first(counts[0, :1]), np.ones(1, dtype=np.float32)
    slots = Slots.first(1, span_s=SLOT_S, quantile=QUANTILE)
    slots.begin(levels)
    told = np.zeros(len(rates))
    for index, slot in enumerate(counts):
        told[index] = slots.told[0]
        for requests in slot.reshape(-1, 1):
            levels.observe(requests, second_s, second_s)
            slots.count(np.array([requests, second_s]))
        slots.begin(levels)
    scored = slice(int(_WARM_PART * len(rates)), None)
    return judged(told[scored], rates[scored].astype(np.float64))


def judged(told: Floats, came: Floats) -> ForecastScore:
    """Pinball loss and coverage of told quantiles."""
    short = came - told
    loss = np.where(short > 0.0, QUANTILE * short, (QUANTILE - 1.0) * short)
    return ForecastScore(pinball=float(loss.mean()), coverage_percent=100.0 * float((short <= 0.0).mean()))


def second_counts(folder: Path, load: Load) -> Reals:
    """Requests in each second: a row for each slot."""
    if load.name.startswith("Azure"):
        name = load.name.split()[1]
        rows = _rows(folder / "azure_llm_arrivals.csv.gz")
        arrivals = np.array([float(row["arrival_s"]) for row in rows if row["trace"] == name])
        counts = np.histogram(arrivals, np.arange(arrivals.min(), arrivals.max() + 1.0))[0]
        whole = len(counts) // int(SLOT_S) * int(SLOT_S)
        return counts[:whole].reshape(-1, int(SLOT_S)).astype(np.float32)
    seconds = np.array([int(row["requests"]) for row in _rows(folder / "twitter_per_second.csv.gz")])
    seconds = seconds[: _TWITTER_SLOTS * int(SLOT_S)]
    if "thinned" in load.name:
        seconds = np.random.default_rng(_SEED).binomial(seconds, _THINNED_TO)
    return seconds.reshape(-1, int(SLOT_S)).astype(np.float32)


def _rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(gzip.decompress(path.read_bytes()).decode())))
