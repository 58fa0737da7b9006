"""No policy is cheaper than the bound, on no instance and under no gate."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hasgpu.model.intent import parse_intent
from hasgpu.model.profile import Cell
from hasgpu.simulator.bound import LeastCost, least_gpu_seconds, served_at_the_bound
from hasgpu.simulator.policies.registry import POLICIES, policy_named
from hasgpu.simulator.result import summary
from hasgpu.simulator.run import simulate
from hasgpu.simulator.truth import truth_of_cells
from hasgpu.simulator.workload import Workload

from tests.simulator.inputs import function, setup


@pytest.mark.parametrize("gate", ["gpu-time", "launch"])
@pytest.mark.parametrize("name", sorted(POLICIES))
def test_every_policy_allocates_at_least_the_bound(name: str, gate: str) -> None:
    for seed, batch in ((1, 1), (2, 4)):
        told = {"hasgpu.dev/slo-latency": "100ms", "hasgpu.dev/batch-size": str(batch)}
        if batch > 1:
            told["hasgpu.dev/sm-partition"] = "50%"
        intent = parse_intent(told, "p")
        given = setup(function("a", 20.0, intent=intent), rate=15.0, seconds=8.0, gpus=4, seed=seed, gate=gate)  # type: ignore[arg-type]
        cluster = simulate(given, policy_named(name, given))
        for served in cluster.functions.values():
            assert served.allocated.total >= least_gpu_seconds(given, served) - 1e-9


@pytest.mark.parametrize("gate", ["gpu-time", "launch"])
def test_a_policy_that_keeps_to_no_partition_and_answers_late_allocates_at_least_the_bound(gate: str) -> None:
    told = {"hasgpu.dev/slo-latency": "100ms", "hasgpu.dev/sm-partition": "10%"}
    steep = truth_of_cells([Cell(batch=1, sm_percent=sm, quota_percent=100, latency_ms=ms) for sm, ms in STEEP])
    spec = function("a", intent=parse_intent(told, "p"), truth=steep, max_scale=1)
    given = setup(spec, rate=60.0, seconds=8.0, noise=1.0, gate=gate)  # type: ignore[arg-type]
    (served,) = simulate(given, policy_named("kpa-whole", given)).functions.values()
    assert served.allocated.total >= least_gpu_seconds(given, served) - 1e-9


STEEP = ((10, 400.0), (100, 15.0))
"""A kernel that needs more than a tenth of the GPU: a whole one costs less for each request."""


@pytest.mark.parametrize("gate", ["gpu-time", "launch"])
@pytest.mark.parametrize(
    ("slo", "overhead_s", "late"),
    [
        pytest.param("5ms", 0.0, 1.0, id="no slice is fast enough"),
        pytest.param("100ms", 0.1, 1.0, id="the objective is used up outside the GPU"),
        pytest.param("100ms", 0.2, 1.0, id="the objective is less than what is outside the GPU"),
        pytest.param("1h", 0.0, 0.0, id="the objective is later than a request is given up"),
    ],
)
def test_the_bound_answers_everything_in_its_own_time(gate: str, slo: str, overhead_s: float, late: float) -> None:
    spec = function("a", 20.0, intent=parse_intent({"hasgpu.dev/slo-latency": slo}, "p"), overhead_s=overhead_s)
    given = setup(spec, rate=15.0, seconds=20.0, gate=gate)  # type: ignore[arg-type]
    result = summary(served_at_the_bound(given), 20.0, lambda function: least_gpu_seconds(given, function))
    json.dumps(result, allow_nan=False)
    assert result["failed"] == 0
    assert result["violations"]["slo"] == late  # type: ignore[index]
    assert result["mean_gpus"] > 0.0  # type: ignore[operator]


@pytest.mark.parametrize("gate", ["gpu-time", "launch"])
def test_on_a_small_case_the_bound_is_the_exact_optimum_found_by_search(gate: str) -> None:
    """Three requests far apart: all (SM, quota) of each are tried, and pods for nothing leave no coupling."""
    spec = function("a", 20.0)
    given = replace(
        setup(spec, gate=gate, noise=0.0),  # type: ignore[arg-type]
        workload=Workload(arrivals={"a": np.array([1.0, 3.0, 5.0])}, horizon_s=10.0),
    )
    slack = spec.slo_s - spec.overhead_s
    options = [
        (sm * quota / 1e4 * seconds)
        for sm in range(1, 101)
        for quota in range(5, 101)
        if (seconds := _seconds(spec, gate, sm, quota)) <= slack
    ]
    found = served_at_the_bound(given).functions[spec.key].allocated.total
    # A quota that changes on the way may be cheaper still, by the hull between two of the options.
    assert found <= 3.0 * min(options) + 1e-9
    assert found >= 3.0 * min(options) * (0.99 if gate == "gpu-time" else 0.8)


def _seconds(spec: object, gate: str, sm: int, quota: int) -> float:
    truth = spec.truth  # type: ignore[attr-defined]
    return float(truth.launch_s(1, sm, quota) if gate == "launch" else truth.work_s(1, sm) / (quota / 100.0))


def test_the_bound_is_a_result_like_any_other() -> None:
    given = setup(function("a", 20.0), rate=15.0, seconds=20.0)
    result = summary(served_at_the_bound(given), 20.0)
    assert result["failed"] == 0
    assert isinstance(result["violations"], dict)
    assert result["violations"]["slo"] == 0.0
    assert isinstance(result["mean_gpus"], float)
    assert 0.0 < result["mean_gpus"] < 1.0


def test_less_slack_never_costs_less() -> None:
    for gate in ("gpu-time", "launch"):
        costs = LeastCost(function("a", 20.0), gate).of(np.linspace(0.001, 0.1, 500))
        assert (np.diff(costs[np.isfinite(costs)]) <= 1e-12).all()
