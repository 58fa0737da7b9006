"""Process fitter: what a tick of the load forecast costs: CPU time, since others may share the machine.

Every function is reported on, as it is each second, and all quantiles of both horizons are told anew.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from hasgpu.prediction.forecast import Levels, Slots
from hasgpu.prediction.forecast_board import ForecastBoard, Horizon

Floats = NDArray[np.float64]

FUNCTIONS = 10_000
GOAL_US = 100.0
HORIZONS = (Horizon(span_s=5.0, quantile=0.95), Horizon(span_s=8.0, quantile=0.69))
_RATE = 10.0
_TICKS, _WARM = 60, 10
_SEED = 0


def forecast_paces() -> dict[str, Floats]:
    """Microseconds of each tick, and of its parts: levels, one horizon's quantiles, its slots that end; and of reading
    and writing each number that a tick may touch once, which no arithmetic on these arrays is below."""
    levels, slots = _calm()
    ones, news = np.ones(FUNCTIONS, dtype=np.float32), _counts(_TICKS)
    ended = np.arange(0, FUNCTIONS, int(HORIZONS[0].span_s))
    touched = np.ones((len(levels.rows) + len(HORIZONS) * len(slots.rows), FUNCTIONS), dtype=np.float32)

    def begin() -> None:
        part = slots.of(ended)
        part.begin(levels.of(ended))
        slots.put(ended, part)

    return {
        "all": _whole_ticks(),
        "levels": _timed(lambda tick: levels.observe(news[tick], ones, ones)),
        "quantiles of one horizon": _timed(lambda tick: slots.cautious(levels)),
        "a fifth of its slots end": _timed(lambda tick: begin()),
        "one pass over the arrays": _timed(lambda tick: np.negative(touched, out=touched)),
    }


def _whole_ticks() -> Floats:
    board = ForecastBoard(*HORIZONS)
    columns, chance, counts = [board.add() for _ in range(FUNCTIONS)], np.random.default_rng(_SEED), _counts(_TICKS)

    def tick(number: int, part: float) -> None:
        for column in np.flatnonzero(chance.random(FUNCTIONS) < part):
            count = float(counts[number % _TICKS, column])
            board.note(columns[column], count, count, 1.0, float(number))

    for number in range(_WARM):
        # Half of them each time, so that not all slots end at once.
        tick(number, 0.5)
        board.settle()
    taken = []
    for number in range(_WARM, _WARM + _TICKS):
        tick(number, 1.0)
        began_s = time.thread_time()
        board.settle()
        taken.append(time.thread_time() - began_s)
    return 1e6 * np.array(taken)


def _calm() -> tuple[Levels, Slots]:
    """As they are after a while of steady load."""
    counts, ones = _counts(_TICKS), np.ones(FUNCTIONS, dtype=np.float32)
    levels = Levels.first(counts[0])
    slots = Slots.first(FUNCTIONS, span_s=HORIZONS[0].span_s, quantile=HORIZONS[0].quantile)
    slots.begin(levels)
    for each in counts:
        levels.observe(each, ones, ones)
    return levels, slots


def _counts(seconds: int) -> NDArray[np.float32]:
    return np.random.default_rng(_SEED).poisson(_RATE, (seconds, FUNCTIONS)).astype(np.float32)


def _timed(work: Callable[[int], object]) -> Floats:
    taken = []
    for tick in range(_TICKS):
        began_s = time.thread_time()
        work(tick)
        taken.append(time.thread_time() - began_s)
    return 1e6 * np.array(taken[_WARM:])
