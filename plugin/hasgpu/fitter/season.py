"""Process fitter: the day that a week's load repeats, where it repeats one. Loads statsmodels.

On the root of the rate, whose noise is the same at all rates. STL smooths each time of day over the days, so a step at
eight o'clock stays one. Where a day can't be told by the other days nothing repeats, and there is no season.
"""

from __future__ import annotations

import numpy as np
from statsmodels.tsa.seasonal import STL

from hasgpu.prediction.season import DAYS_NEEDED, SLOTS_A_DAY, Floats, LoadHistory, Season

_LEAST_PER_S = 0.01
"""Less is what smoothing leaves of nothing."""
_DAYS_SMOOTHED = 7
_TREND_JUMP, _LOW_PASS_JUMP = 50, 29
"""Smoothed at every so many slots, a tenth of the window, and linear between: thirty times as quick, .05/s apart."""
_LEAST_TOLD = 0.3
"""Part of a load's variance that the other days must tell of each day. Of chance they tell none."""


def fit_season(history: LoadHistory) -> Season | None:
    """None where less than two days are known; flat where no day repeats."""
    if history.days < DAYS_NEEDED:
        return None
    root = np.sqrt(_filled(history.means, history.first_slot))
    if _told_by_other_days(root) < _LEAST_TOLD:
        return Season.of(np.zeros(SLOTS_A_DAY), history.end_slot)
    parts = STL(
        root,
        period=SLOTS_A_DAY,
        seasonal=_DAYS_SMOOTHED,
        seasonal_deg=0,
        trend_deg=0,
        trend_jump=_TREND_JUMP,
        low_pass_jump=_LOW_PASS_JUMP,
        robust=True,
    ).fit()
    trend, seasonal = np.asarray(parts.trend), np.asarray(parts.seasonal)
    day = np.zeros(SLOTS_A_DAY)
    last = np.arange(len(root) - SLOTS_A_DAY, len(root))
    day[(history.first_slot + last) % SLOTS_A_DAY] = trend[-1] + seasonal[last]
    rates = np.maximum(day, 0.0) ** 2
    rates[rates < _LEAST_PER_S] = 0.0
    return Season.of(rates, history.end_slot)


def _filled(means: Floats, first_slot: int) -> Floats:
    """What is not known is taken to have been as at that time of the other days, or nothing."""
    time = (first_slot + np.arange(len(means))) % SLOTS_A_DAY
    known = ~np.isnan(means)
    sums = np.bincount(time[known], means[known], SLOTS_A_DAY)
    counts = np.bincount(time[known], minlength=SLOTS_A_DAY)
    return np.where(known, means, (sums / np.maximum(counts, 1))[time])


def _told_by_other_days(root: Floats) -> float:
    """Part of the variance of whole days that the mean of the others tells; below 0 where it misleads."""
    days = root[len(root) % SLOTS_A_DAY :].reshape(-1, SLOTS_A_DAY)
    others = (days.sum(axis=0) - days) / (len(days) - 1)
    total = float(((days - days.mean()) ** 2).sum())
    return 1.0 - float(((days - others) ** 2).sum()) / total if total > 0.0 else 0.0
