"""Rivals keep to what a function asks for, and are no straw men: what they think a slice can do is possible."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hasgpu.model.intent import parse_intent
from hasgpu.model.load import StatMessage
from hasgpu.simulator.believed import Belief
from hasgpu.simulator.cluster import Cluster
from hasgpu.simulator.functions_file import FunctionSpec
from hasgpu.simulator.policies.registry import POLICIES, policy_named
from hasgpu.simulator.policies.throughput import Sizing, throughput_of
from hasgpu.simulator.policy import Policy
from hasgpu.simulator.run import simulate

from tests.simulator.inputs import PRODUCT, function, setup

SIZED = sorted({*POLICIES} - {"kpa-whole"})
TICKING = [name for name in SIZED if not name.endswith("-5s")]


class Seen:
    """Any policy, and the slices its pods had."""

    def __init__(self, inner: Policy) -> None:
        self.inner = inner
        self.slices: set[tuple[int, int]] = set()
        self.fewest = 10**6

    @property
    def tick_s(self) -> float | None:
        return self.inner.tick_s

    def start(self, cluster: Cluster) -> None:
        self.inner.start(cluster)

    def on_stats(self, cluster: Cluster, stats: Sequence[StatMessage]) -> None:
        self.inner.on_stats(cluster, stats)
        pods = [pod for each in cluster.functions.values() for pod in each.pods]
        self.slices |= {(pod.sm_percent, pod.slice.time_quota.percent) for pod in pods}
        self.fewest = min(self.fewest, len(pods))

    def tick(self, cluster: Cluster) -> None:
        self.inner.tick(cluster)


def asking(**keys: str) -> FunctionSpec:
    told = {"hasgpu.dev/slo-latency": "100ms"} | {
        f"hasgpu.dev/{key.replace('_', '-')}": text for key, text in keys.items()
    }
    return function(intent=parse_intent(told, "p"))


def seen(name: str, spec: FunctionSpec, rate: float = 20.0) -> Seen:
    given = setup(spec, rate=rate, seconds=12.0, gpus=6)
    watched = Seen(policy_named(name, given))
    simulate(given, watched)
    return watched


@pytest.mark.parametrize("name", SIZED)
def test_quotas_stay_within_the_bounds_that_are_asked_for(name: str) -> None:
    slices = seen(name, asking(time_quota="25%-40%")).slices
    assert slices
    assert all(25 <= quota <= 40 for _, quota in slices)


@pytest.mark.parametrize("name", SIZED)
def test_pods_have_the_partition_that_is_asked_for(name: str) -> None:
    assert {sm for sm, _ in seen(name, asking(sm_partition="60%")).slices} == {60}


@pytest.mark.parametrize("name", TICKING)
def test_there_are_never_less_pods_than_the_least_scale(name: str) -> None:
    assert seen(name, replace(asking(), min_scale=3), rate=1.0).fewest >= 3


def test_dilu_like_gives_up_growth_before_it_takes_a_whole_gpu() -> None:
    """No slice of up to half the time meets the objective; many of more do."""
    spec = function(work_ms=10.0, intent=parse_intent({"hasgpu.dev/slo-latency": "26ms"}, "p"))
    slices = seen("dilu-like", spec, rate=2.0).slices
    assert slices
    assert all(sm * quota < 100 * 100 for sm, quota in slices)


@pytest.mark.parametrize("gate", ["gpu-time", "launch"])
def test_of_batches_a_slice_is_thought_to_do_no_more_than_it_can(gate: str) -> None:
    spec = asking(batch_size="64")
    belief = Belief(product=PRODUCT, gate=gate)  # type: ignore[arg-type]
    throughput = throughput_of(spec, belief, Sizing(1.0, 1.0))
    for sm in (10, 50, 100):
        for quota in (10, 50, 100):
            possible = max(batch / throughput.surface.work_s(batch, sm) for batch in range(1, 65))
            assert throughput.per_s(sm, quota) <= possible * 1.001
