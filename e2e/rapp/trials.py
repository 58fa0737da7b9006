"""What is tried: slices and loads drawn from a seed, and what the capacity model says of them. Pure."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from hasgpu.prediction.capacity import CapacityTerms, capacity_table, latency_quantile_s
from hasgpu.prediction.surface import Surface

PERCENTILE = 95.0
WINDOW_S = 0.040
GRACE_S = 0.002
"""The shim's."""
BATCH_SIZES = (1, 1, 1, 2, 4, 8)
LEAST_RATE, MOST_RATE = 5.0, 40.0
"""Requests/s: fewer take too long to tell a P95, more are more than a client in Python sends beside the function."""
_LEAST_SM, _LEAST_QUOTA = 10, 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One configuration, and what is expected of it."""

    model: str
    batch_size: int
    sm_percent: int
    quota_percent: int
    slo_s: float
    load: float
    """Part of the capacity."""
    requests_per_s: float
    predicted_s: float
    seed: int


def draw_trial(surfaces: dict[str, Surface], overhead_s: float, gap_s: float, chance: random.Random) -> Trial:
    """At 30 to 90 % of the capacity for an SLO of 1.5 to 5 times what a lone request takes."""
    while True:
        model = chance.choice(sorted(surfaces))
        batch_size = chance.choice(BATCH_SIZES)
        sm, quota = chance.randint(_LEAST_SM, 100), chance.randint(_LEAST_QUOTA, 100)
        surface = surfaces[model]
        terms = CapacityTerms(
            slo_latency_s=1.0,
            percentile=PERCENTILE,
            batch_size=batch_size,
            overhead_s=overhead_s,
            window_s=WINDOW_S,
            edge=0.0,
            gap_s=gap_s,
            grace_s=GRACE_S,
        )
        lone_s = capacity_table(surface, terms, extra_sm_percents=(sm,)).latency(sm, quota) + overhead_s
        slo_s = chance.uniform(1.5, 5.0) * lone_s
        table = capacity_table(surface, replace(terms, slo_latency_s=slo_s), extra_sm_percents=(sm,))
        load = chance.uniform(0.3, 0.9)
        rate = load * table.rate(sm, quota)
        seed = chance.randrange(1 << 30)
        if LEAST_RATE <= rate <= MOST_RATE:
            return Trial(
                model=model,
                batch_size=batch_size,
                sm_percent=sm,
                quota_percent=quota,
                slo_s=slo_s,
                load=load,
                requests_per_s=rate,
                predicted_s=latency_quantile_s(surface, terms, sm, quota, rate),
                seed=seed,
            )
