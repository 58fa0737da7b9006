"""The capacity law held against the simulator: at the rate it names, about the allowed share is late."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hasgpu.model.intent import parse_intent
from hasgpu.simulator.policies.true_table import true_table
from hasgpu.simulator.trial import Trial
from hasgpu.simulator.workload import Workload, generator

from tests.simulator.inputs import function, setup

SECONDS = 500.0


@pytest.mark.parametrize("gate", ["gpu-time", "launch"])
@pytest.mark.parametrize("quota", [40, 80, 100])
@pytest.mark.parametrize(
    ("pods", "least", "most"),
    [
        pytest.param(1, 0.4, 1.4, id="a lone pod is late just as often as predicted"),
        pytest.param(2, 0.3, 1.7, id="the law for several is made for two"),
        pytest.param(4, 0.0, 1.1, id="four pods are late less often"),
    ],
)
def test_at_its_capacity_a_slice_is_late_as_often_as_allowed(
    gate: str, quota: int, pods: int, least: float, most: float
) -> None:
    spec = function("f", 20.0, intent=parse_intent({"hasgpu.dev/slo-latency": "100ms"}, "p"))
    given = setup(spec, gate=gate, noise=0.0)  # type: ignore[arg-type]
    table = true_table(spec, given.gate, given.window_s, 95.0)
    rate = table.rate(100, quota, shared=pods > 1) * pods
    chance = generator(7, "f", "test")
    arrivals = np.sort(chance.random(chance.poisson(rate * SECONDS)) * SECONDS)
    trial = Trial(replace(given, workload=Workload(arrivals={"f": arrivals}, horizon_s=SECONDS)), spec, 100, pods)
    trial.serve(quota, SECONDS)
    assert least * 0.05 <= trial.end().late_share <= most * 0.05
