"""Process simulator: what policies believe of a function: its capacity by slice, from its profile alone. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

from hasgpu.decision.placement import SliceWish
from hasgpu.model.capacity import CapacityTable
from hasgpu.model.profile import Gate
from hasgpu.prediction.capacity import CapacityTerms, capacity_table
from hasgpu.prediction.lending import lent_table
from hasgpu.prediction.surface import Surface

from .fitted import fitted_surface
from .functions_file import FunctionSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Belief:
    """How careful the tables are (config-hasgpu)."""

    product: str
    gate: Gate
    window_s: float = 0.04
    interference: float = 0.05
    free: float = 0.10
    """Part of the predicted capacity that is kept free."""
    launch_edge: float = 1.0
    """How far up their interval launch times are taken."""
    slo_factor: float = 1.0
    percentile: float | None = None
    """Instead of the function's own."""
    outside_s: float | None = None
    """Instead of what a request truly spends outside the GPU."""
    lent_percent: int = 0
    """Of each row, where it lends: given to nobody."""


def surface_of(spec: FunctionSpec, product: str) -> Surface:
    """The profile's surface."""
    return fitted_surface(spec.profile, product, spec.statics)


def table_of(spec: FunctionSpec, belief: Belief) -> CapacityTable:
    """Requests/s within the SLO by slice."""
    sm = spec.intent.sm_partition
    terms = CapacityTerms(
        slo_latency_s=spec.slo_s * belief.slo_factor,
        percentile=belief.percentile or spec.intent.slo_percentile,
        batch_size=spec.intent.batch_size,
        overhead_s=spec.overhead_s if belief.outside_s is None else belief.outside_s,
        window_s=belief.window_s,
        gate=belief.gate,
        margin=belief.interference,
        launch_edge=belief.launch_edge,
    )
    own = (sm.percent,) if sm is not None else ()
    table = _table(surface_of(spec, belief.product), terms, own)
    part = 1.0 - belief.free
    return replace(table, requests_per_s=tuple(tuple(rate * part for rate in line) for line in table.requests_per_s))


def wish_of(spec: FunctionSpec, belief: Belief) -> SliceWish:
    """What a pod of the function asks for."""
    return SliceWish(
        sm_partition=spec.intent.sm_partition,
        quota=spec.intent.quota,
        memory_bytes=spec.memory_bytes,
        processes=1,
        gpu_product=None,
        nodes=None,
        tables={belief.product: _in_row(table_of(spec, belief), belief)},
    )


def _in_row(table: CapacityTable, belief: Belief) -> CapacityTable:
    return lent_table(table, 100 - belief.lent_percent) if belief.lent_percent else table


@lru_cache(maxsize=1000)
def _table(surface: Surface, terms: CapacityTerms, own: tuple[int, ...]) -> CapacityTable:
    return capacity_table(surface, terms, extra_sm_percents=own)
