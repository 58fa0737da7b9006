"""Process simulator: from a policy's name and its knobs to the policy. docs/evaluation.md calls them by these names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from hasgpu.decision.policy import Policy as Knobs
from hasgpu.prediction.capacity import launch_edge
from hasgpu.prediction.season import Season
from hasgpu.simulator.believed import Belief, table_of
from hasgpu.simulator.functions_file import FunctionSpec
from hasgpu.simulator.policy import Policy
from hasgpu.simulator.run import Setup

from .dilu_like import DiluLike
from .five_seconds import FiveSeconds
from .has_gpu import START, HasGpu
from .hasgpu import Hasgpu
from .kpa import Kpa, Shape
from .throughput import Sizing, largest
from .unit_pods import UnitPods


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """The knobs of all policies; each reads its own. Defaults are what tuning on training seeds chose."""

    risk_quantile: float = 0.90
    free: float = 0.0
    interference: float = 0.05
    outside_s: float | None = None
    """What is thought to be spent outside the GPU (config-hasgpu: overhead); None: what truly is."""
    lent_percent: int = 0
    """Of each row, where it lends: given to nobody (config-hasgpu)."""
    hasgpu: Knobs = field(default_factory=Knobs)
    kpa_concurrency: float = 1.0
    kpa_static_requests_per_s: float = 10.0
    """The slice of kpa-static is the cheapest that carries so much."""
    has_gpu_up: float = 0.9
    has_gpu_start: tuple[int, int] = START
    has_gpu_phase_s: float = 0.0
    """Published: when within five seconds it reads the rate."""
    utilisation: float = 0.6
    """Of the time a latency leaves, for fast-gshare, dilu-like and infless-like."""
    slack: float = 0.7
    """Of the time an SLO leaves, for a lone inference: the same three and has-gpu-intended."""
    season: Season | None = None
    """What the fitter found in days before, of a run with one function."""
    began_s: float = 0.0
    """Time of day, for the season, at which the run begins."""
    dilu_growth: float = 2.0
    """The limit as a multiple of the request."""

    @property
    def sizing(self) -> Sizing:
        """For the rivals that size slices by their mean latency."""
        return Sizing(self.utilisation, self.slack)


def belief_of(setup: Setup, tuning: Tuning) -> Belief:
    """What every policy of a run believes of its functions; only ours asks what a row lends."""
    return Belief(
        product=setup.gpus[0].product,
        gate=setup.gate,
        window_s=setup.window_s,
        interference=max(tuning.interference, setup.interference),
        free=tuning.free,
        launch_edge=launch_edge(tuning.risk_quantile),
        outside_s=tuning.outside_s,
        lent_percent=tuning.lent_percent if setup.rows == "borrow" else 0,
    )


def static_shape(belief: Belief, requests_per_s: float) -> Shape:
    """The cheapest slice that carries a rate within the SLO; the largest where none does."""
    known: dict[str, tuple[int, int]] = {}

    def shape(spec: FunctionSpec) -> tuple[int, int]:
        if spec.name not in known:
            table = table_of(spec, belief)
            asked, quotas = spec.intent.sm_partition, spec.intent.quota
            low, high = max(5, quotas.low.percent), quotas.high.percent
            fits = (
                (sm * quota, sm, quota)
                for sm in (table.sm_percents if asked is None else (asked.percent,))
                if (quota := table.least_quota(sm, requests_per_s, low, high)) is not None
            )
            known[spec.name] = min(fits, default=(0, *largest(spec)))[1:]
        return known[spec.name]

    return shape


def _hasgpu(setup: Setup, tuning: Tuning) -> Policy:
    seasons = {} if tuning.season is None else {setup.functions[0].key: tuning.season}
    return Hasgpu(belief_of(setup, tuning), tuning.hasgpu, tuning.risk_quantile, seasons, tuning.began_s)


def _kpa_whole(setup: Setup, tuning: Tuning) -> Policy:
    return Kpa(lambda _: (100, 100), tuning.kpa_concurrency, least=1)


def _kpa_static(setup: Setup, tuning: Tuning) -> Policy:
    shape = static_shape(belief_of(setup, tuning), tuning.kpa_static_requests_per_s)
    return Kpa(shape, tuning.kpa_concurrency, least=0)


def _published(setup: Setup, tuning: Tuning) -> Policy:
    return HasGpu(
        belief_of(setup, tuning),
        published=True,
        start=tuning.has_gpu_start,
        phase_s=tuning.has_gpu_phase_s,
    )


def _intended(setup: Setup, tuning: Tuning) -> Policy:
    return HasGpu(belief_of(setup, tuning), published=False, up=tuning.has_gpu_up, slack=tuning.slack)


def _fast_gshare(setup: Setup, tuning: Tuning) -> Policy:
    return UnitPods(
        belief_of(setup, tuning),
        sizing=tuning.sizing,
        band=0.2,
        uniform=True,
        keep_s=10.0,
    )


def _infless_like(setup: Setup, tuning: Tuning) -> Policy:
    return UnitPods(
        belief_of(setup, tuning),
        sizing=tuning.sizing,
        band=0.1,
        uniform=False,
        keep_s=60.0,
    )


def _dilu_like(setup: Setup, tuning: Tuning) -> Policy:
    return DiluLike(
        belief_of(setup, tuning),
        sizing=tuning.sizing,
        growth=tuning.dilu_growth,
        window=40,
        most=0.75,
    )


POLICIES: Mapping[str, Callable[[Setup, Tuning], Policy]] = {
    "hasgpu": _hasgpu,
    "has-gpu-published": _published,
    "has-gpu-intended": _intended,
    "fast-gshare": _fast_gshare,
    "kpa-whole": _kpa_whole,
    "kpa-static": _kpa_static,
    "dilu-like": _dilu_like,
    "infless-like": _infless_like,
    "clairvoyant-5s": lambda setup, _: FiveSeconds(setup, knows_arrivals=True),
    "rate-5s": lambda setup, _: FiveSeconds(setup, knows_arrivals=False),
}


def policy_named(name: str, setup: Setup, tuning: Tuning | None = None) -> Policy:
    """A fresh policy for one run; KeyError for a name that is none."""
    return POLICIES[name](setup, tuning or Tuning())
