"""Process fitter: the day that a week's load repeats, and how fast the load strays from it. Loads statsmodels.

On the root of the rate, whose noise is the same at all rates. STL smooths each time of day over the days, so a step at
eight o'clock stays one; a local level fitted to what is left has the drift.
"""

from __future__ import annotations

import warnings

import numpy as np
from statsmodels.tsa.seasonal import STL
from statsmodels.tsa.statespace.structural import UnobservedComponents

from hasgpu.prediction.season import DAYS_NEEDED, SLOT_S, SLOTS_A_DAY, Floats, LoadHistory, Season

_LEAST_PER_S = 0.01
"""Less is what smoothing leaves of nothing."""
_DAYS_SMOOTHED = 7


def fit_season(history: LoadHistory) -> Season | None:
    """None where less than two days are known."""
    if history.days < DAYS_NEEDED:
        return None
    root = np.sqrt(_filled(np.array(history.means), history.first_slot))
    parts = STL(root, period=SLOTS_A_DAY, seasonal=_DAYS_SMOOTHED, seasonal_deg=0, trend_deg=0, robust=True).fit()
    trend, seasonal = np.asarray(parts.trend), np.asarray(parts.seasonal)
    day = np.zeros(SLOTS_A_DAY)
    last = np.arange(len(root) - SLOTS_A_DAY, len(root))
    day[(history.first_slot + last) % SLOTS_A_DAY] = trend[-1] + seasonal[last]
    rates = np.maximum(day, 0.0) ** 2
    rates[rates < _LEAST_PER_S] = 0.0
    return Season(
        requests_per_s=tuple(rates.tolist()),
        drift_per_s=_drift_per_s(root - trend - seasonal),
        fitted_slot=history.end_slot,
    )


def _filled(means: Floats, first_slot: int) -> Floats:
    """What is not known is taken to have been as at that time of the other days, or nothing."""
    time = (first_slot + np.arange(len(means))) % SLOTS_A_DAY
    known = ~np.isnan(means)
    sums = np.bincount(time[known], means[known], SLOTS_A_DAY)
    counts = np.bincount(time[known], minlength=SLOTS_A_DAY)
    return np.where(known, means, (sums / np.maximum(counts, 1))[time])


def _drift_per_s(rest: Floats) -> float:
    """Of the local level, per second, by maximum likelihood; what five minutes of chance add is noise."""
    with warnings.catch_warnings():
        # A load that does not drift at all lies at the edge of what can be; that is an answer, too.
        warnings.simplefilter("ignore")
        fitted = UnobservedComponents(rest, level="llevel").fit(disp=False, maxiter=50)
    names = list(fitted.model.param_names)
    return float(max(fitted.params[names.index("sigma2.level")], 0.0)) / SLOT_S
