"""The comparators' search: nothing that it leaves out would have been taken."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hasgpu.model.intent import parse_intent
from hasgpu.simulator.policies.five_seconds import HOLD_S, LOOSENED, Plan, _Search
from hasgpu.simulator.run import Setup
from hasgpu.simulator.trial import Trial
from hasgpu.simulator.workload import Workload

from tests.simulator.inputs import function, setup

SPEC = function("f", 20.0, intent=parse_intent({"hasgpu.dev/slo-latency": "100ms"}, "p"))


def loaded(seed: int, gate: str = "gpu-time") -> Setup:
    """Half a minute that doubles in its middle."""
    chance = np.random.default_rng(seed)
    arrivals = np.sort(np.concatenate([chance.random(300) * 30.0, 10.0 + chance.random(150) * 10.0]))
    given = setup(SPEC, gate=gate)  # type: ignore[arg-type]
    return replace(given, workload=Workload(arrivals={"f": arrivals}, horizon_s=30.0))


def holds(given: Setup, plan: Plan) -> bool:
    trial = Trial(given, SPEC, plan.sm_percent, plan.pods)
    for slot, quota in enumerate(plan.quotas):
        trial.serve(quota, (slot + 1) * HOLD_S)
    return trial.end().late_share <= 0.05


@pytest.mark.parametrize("gate", ["gpu-time", "launch"])
@pytest.mark.parametrize("seed", [1, 2])
def test_the_plan_by_rate_is_the_cheapest_of_all_that_hold(gate: str, seed: int) -> None:
    given = loaded(seed, gate)
    search = _Search(given, SPEC, knows_arrivals=False)
    tables = [search._table(part) for part in LOOSENED]
    every = [plan for sm, pods in search._shapes(tables[-1]) for plan in search._by_rate(tables, sm, pods)]
    costs = [plan.cost for plan in every if holds(given, plan)]
    assert len(costs) < len(every)
    assert search.best().cost == min(costs)


def test_who_knows_the_arrivals_pays_no_more_than_who_knows_the_rate() -> None:
    given = loaded(1)
    knowing, telling = (_Search(given, SPEC, knows_arrivals=knows).best() for knows in (True, False))
    assert holds(given, knowing)
    assert knowing.cost < telling.cost


@pytest.mark.parametrize("pods", [1, 2])
def test_late_so_far_is_never_more_than_late_in_the_end(pods: int) -> None:
    given = loaded(3)
    trial, told = Trial(given, SPEC, 100, pods), []
    for slot, quota in enumerate((40, 15, 10, 100, 20, 60)):
        trial.serve(quota, (slot + 1) * HOLD_S)
        told.append(trial.late())
    count = len(given.workload.arrivals["f"])
    assert told == sorted(told)
    assert 0 < told[-1] <= round(trial.end().late_share * count)
