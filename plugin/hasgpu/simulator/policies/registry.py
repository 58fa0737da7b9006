"""Process simulator: from a policy's name and its knobs to the policy. Names are a contract (issue 7)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from hasgpu.decision.policy import Policy as Knobs
from hasgpu.simulator.believed import Belief, table_of
from hasgpu.simulator.functions_file import FunctionSpec
from hasgpu.simulator.policy import Policy
from hasgpu.simulator.run import Setup

from .five_seconds import FiveSeconds
from .hasgpu import Hasgpu
from .kpa import Kpa, Shape


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """The knobs of all policies; each reads its own. Defaults are what tuning on training seeds chose."""

    risk_quantile: float = 0.90
    free: float = 0.0
    interference: float = 0.05
    hasgpu: Knobs = field(default_factory=Knobs)
    kpa_concurrency: float = 1.0
    kpa_static_requests_per_s: float = 10.0
    """The slice of kpa-static is the cheapest that carries so much."""


def _belief(setup: Setup, tuning: Tuning) -> Belief:
    return Belief(
        product=setup.gpus[0].product,
        gate=setup.gate,
        window_s=setup.window_s,
        interference=max(tuning.interference, setup.interference),
        free=tuning.free,
    )


def _hasgpu(setup: Setup, tuning: Tuning) -> Policy:
    return Hasgpu(_belief(setup, tuning), tuning.hasgpu, tuning.risk_quantile)


def _kpa_whole(setup: Setup, tuning: Tuning) -> Policy:
    return Kpa(lambda _: (100, 100), tuning.kpa_concurrency, least=1)


def _kpa_static(setup: Setup, tuning: Tuning) -> Policy:
    return Kpa(static_shape(_belief(setup, tuning), tuning.kpa_static_requests_per_s), tuning.kpa_concurrency, least=0)


def static_shape(belief: Belief, requests_per_s: float) -> Shape:
    """The cheapest slice that carries a rate within the SLO; the whole GPU where none does."""
    known: dict[str, tuple[int, int]] = {}

    def shape(spec: FunctionSpec) -> tuple[int, int]:
        if spec.name not in known:
            table = table_of(spec, belief)
            fits = (
                (sm * quota, sm, quota)
                for sm in table.sm_percents
                if (quota := table.least_quota(sm, requests_per_s, 5, 100)) is not None
            )
            known[spec.name] = min(fits, default=(10000, 100, 100))[1:]
        return known[spec.name]

    return shape


POLICIES: Mapping[str, Callable[[Setup, Tuning], Policy]] = {
    "hasgpu": _hasgpu,
    "kpa-whole": _kpa_whole,
    "kpa-static": _kpa_static,
    "clairvoyant-5s": lambda setup, _: FiveSeconds(setup, knows_arrivals=True),
    "rate-5s": lambda setup, _: FiveSeconds(setup, knows_arrivals=False),
}


def policy_named(name: str, setup: Setup, tuning: Tuning | None = None) -> Policy:
    """A fresh policy for one run; KeyError for a name that is none."""
    return POLICIES[name](setup, tuning or Tuning())
