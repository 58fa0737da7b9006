"""A run: its physics, its bookkeeping, and that chance never gets in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hasgpu.decision.policy import Policy
from hasgpu.model.intent import parse_intent
from hasgpu.model.load import StatMessage
from hasgpu.prediction.queueing import waiting_tail
from hasgpu.simulator.cluster import Cluster
from hasgpu.simulator.policies.fixed_slice import fitted
from hasgpu.simulator.policies.registry import Tuning, policy_named
from hasgpu.simulator.result import latencies_s, summary
from hasgpu.simulator.run import simulate
from hasgpu.simulator.workload import Workload

from tests.simulator.inputs import function, setup


class Fixed:
    """So many pods of one slice, for ever; the quota of all may change once."""

    tick_s: float | None = 1.0

    def __init__(self, sm: int, quota: int, pods: int = 1, change: tuple[float, int] | None = None) -> None:
        self._sm, self._quota, self._pods, self._change = sm, quota, pods, change

    def start(self, cluster: Cluster) -> None:
        for spec in cluster.functions.values():
            for _ in range(self._pods):
                found = fitted(cluster.ledger(), self._sm, self._quota, spec.spec.memory_bytes)
                assert found is not None
                cluster.start_pod(spec.key, found, at_once=True)

    def on_stats(self, cluster: Cluster, stats: Sequence[StatMessage]) -> None:
        self.stats = stats

    def tick(self, cluster: Cluster) -> None:
        if self._change is not None and cluster.now >= self._change[0]:
            for each in cluster.functions.values():
                for pod in each.pods:
                    cluster.write_quota(pod, self._change[1])
            self._change = None


def test_a_whole_gpu_is_the_queue_of_the_textbook() -> None:
    given = setup(rate=70.0, seconds=300.0, noise=0.0)
    cluster = simulate(given, Fixed(100, 100))
    (served,) = cluster.functions.values()
    waits = (latencies_s(served) - 0.010) / 0.010
    for wait in (0.5, 1.0, 2.0, 4.0):
        expected = float(waiting_tail(0.7, np.array([wait]))[0])
        assert float((waits > wait).mean()) == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize(
    ("grace_s", "most_s"),
    [
        pytest.param(0.0, 0.020, id="in strict slots two are needed where one has begun"),
        pytest.param(0.002, 0.018, id="and as a pod has saved time it runs on past its slot"),
    ],
)
def test_a_lone_request_takes_what_the_gate_says(grace_s: float, most_s: float) -> None:
    given = replace(setup(rate=0.5, seconds=400.0, noise=0.0), grace_s=grace_s)
    half = simulate(given, Fixed(100, 50))
    (served,) = half.functions.values()
    # The agent lays two slots of 10 ms each 40 ms: 10 ms of work take no less than 10 ms.
    taken = latencies_s(served)[1:]
    assert 0.0100 <= taken.min() + 1e-9 < 0.0110
    assert most_s - 1e-4 < taken.max() <= most_s + 1e-4


def test_the_launch_gate_takes_what_was_measured() -> None:
    given = setup(rate=0.5, seconds=100.0, noise=0.0, gate="launch")
    (served,) = simulate(given, Fixed(100, 50)).functions.values()
    assert np.median(latencies_s(served)) == pytest.approx(0.020)


def test_gpu_bound_row_mates_slow_each_other_down_under_the_launch_gate_only() -> None:
    bound = (function("a", 20.0), function("b", 20.0))
    shared = {
        gate: simulate(setup(*bound, rate=15.0, gate=gate, gpus=1), Fixed(50, 50))  # type: ignore[arg-type]
        for gate in ("launch", "gpu-time")
    }
    alone = simulate(setup(bound[0], rate=15.0, gate="launch", gpus=1), Fixed(50, 50))
    means = {gate: latencies_s(next(iter(each.functions.values()))).mean() for gate, each in shared.items()}
    assert means["launch"] >= latencies_s(next(iter(alone.functions.values()))).mean()
    single = simulate(setup(bound[0], rate=15.0, gpus=1), Fixed(50, 50))
    assert means["gpu-time"] == pytest.approx(latencies_s(next(iter(single.functions.values()))).mean(), rel=0.25)


def test_batches_carry_what_single_requests_cannot() -> None:
    def served(batch: str) -> float:
        spec = function(intent=_with_batch(batch))
        cluster = simulate(setup(spec, rate=150.0, seconds=30.0), Fixed(100, 100))
        return float(np.percentile(latencies_s(next(iter(cluster.functions.values()))), 95))

    assert served("4") < 0.1 < served("1")


def _with_batch(batch: str) -> object:
    return parse_intent({"hasgpu.dev/slo-latency": "100ms", "hasgpu.dev/batch-size": batch}, "p")


def test_a_raise_helps_what_is_already_queued() -> None:
    given = setup(rate=40.0, seconds=30.0)
    low = simulate(given, Fixed(100, 20))
    raised = simulate(given, Fixed(100, 20, change=(10.0, 100)))
    late = [float((latencies_s(next(iter(each.functions.values()))) > 1.0).mean()) for each in (low, raised)]
    assert late[0] > 0.9
    assert late[1] < 0.6


def test_time_used_is_never_more_than_time_allocated() -> None:
    for rate in (5.0, 30.0, 90.0):
        result = summary(simulate(setup(rate=rate), Fixed(50, 60, pods=2)), 60.0)
        seconds = result["gpu_seconds"]
        assert isinstance(seconds, dict)
        assert seconds["busy"] > 0.0
        # What is left at the end of the run is served after it.
        assert seconds["busy"] <= seconds["allocated"] * 1.7
        assert seconds["allocated"] == pytest.approx(0.5 * 0.6 * 2 * 60.0)


@pytest.mark.parametrize("name", ["hasgpu", "kpa-whole", "kpa-static", "clairvoyant-5s", "rate-5s"])
def test_the_same_seed_gives_the_same_bytes(name: str) -> None:
    def told() -> tuple[str, list[str]]:
        functions = (function("a"),) if name.endswith("-5s") else (function("a"), function("b", 25.0))
        given = setup(*functions, rate=12.0, seconds=8.0, gpus=3)
        cluster = simulate(given, policy_named(name, given))
        return str(summary(cluster, 8.0)), cluster.log.lines

    assert told() == told()


def test_every_request_is_answered_once_and_none_before_it_came() -> None:
    given = setup(function("a"), function("b"), rate=50.0, seconds=120.0)
    cluster = simulate(given, policy_named("hasgpu", given))
    for each in cluster.functions.values():
        taken = latencies_s(each)
        assert len(taken) == len(given.workload.arrivals[each.spec.name])
        assert np.isfinite(taken).all()
        assert (taken >= 0.005).all()


def test_a_request_at_zero_pods_waits_for_a_start_and_is_counted_as_cold() -> None:
    spec = function(startup_s=3.0)
    given = setup(spec, rate=0.0, seconds=400.0)
    given.workload.arrivals["f"].resize(1, refcheck=False)
    given.workload.arrivals["f"][0] = 300.0
    cluster = simulate(given, policy_named("hasgpu", given))
    (served,) = cluster.functions.values()
    assert served.requests.cold == 1
    assert latencies_s(served)[0] == pytest.approx(3.3, abs=0.3)


def test_a_request_at_a_parked_pod_waits_for_its_quota_alone() -> None:
    spec = function(intent=parse_intent({"hasgpu.dev/slo-latency": "100ms", "hasgpu.dev/time-quota": "0%-100%"}, "p"))
    told = np.arange(30.3, 400.0, 40.37)
    given = replace(setup(spec), workload=Workload(arrivals={"f": told}, horizon_s=400.0))
    (served,) = simulate(given, policy_named("hasgpu", given)).functions.values()
    assert served.requests.cold == 0
    assert latencies_s(served).max() < 0.2


def test_activators_tell_of_a_first_request_at_once_and_of_none_twice() -> None:
    class Told(Fixed):
        def on_stats(self, cluster: Cluster, stats: Sequence[StatMessage]) -> None:
            heard.extend((cluster.now, each.average_concurrent_requests, each.request_count) for each in stats)

    heard: list[tuple[float, float, float]] = []
    arrivals = np.array([2.3, 2.5, 3.2, 5.7])
    given = replace(setup(), workload=Workload(arrivals={"f": arrivals}, horizon_s=8.0))
    simulate(given, Told(100, 100))
    assert [(at, count) for at, _, count in heard] == [
        (pytest.approx(2.31), 1.0),
        (pytest.approx(3.01), 1.0),
        (pytest.approx(4.01), 1.0),
        (pytest.approx(5.71), 1.0),
        (pytest.approx(6.01), 0.0),
    ]
    assert [mean for _, mean, _ in heard] == [1.0, 0.0, pytest.approx(0.01, rel=0.2), 1.0, 0.0]


def test_the_ledger_holds_at_every_tick_of_a_crowd() -> None:
    class Watched:
        tick_s: float | None = 0.5

        def __init__(self) -> None:
            self.inner = policy_named("hasgpu", given)

        def start(self, cluster: Cluster) -> None:
            self.inner.start(cluster)

        def on_stats(self, cluster: Cluster, stats: Sequence[StatMessage]) -> None:
            self.inner.on_stats(cluster, stats)

        def tick(self, cluster: Cluster) -> None:
            assert cluster.ledger().over_committed() == ()
            for device in cluster.devices.values():
                assert all(sum(pod.laid_percent for pod in row.pods) <= 100 for row in device.rows.values())

    given = setup(*(function(f"f{n}", 15.0 + n) for n in range(6)), rate=30.0, seconds=20.0, gpus=1)
    simulate(given, Watched())


def test_moves_free_a_gpu_once_load_has_gone_and_no_request_is_later_for_them() -> None:
    busy = setup(*(function(name) for name in "abc"), rate=40.0, seconds=240.0, gpus=3)
    fewer = {name: np.concatenate([at[at < 30.0], at[at >= 30.0][::40]]) for name, at in busy.workload.arrivals.items()}
    given = replace(busy, workload=Workload(arrivals=fewer, horizon_s=240.0))
    never, moved = (
        summary(simulate(given, policy_named("hasgpu", given, Tuning(hasgpu=Policy(move_after_s=after_s)))), 240.0)
        for after_s in (0.0, 31.0)
    )
    assert moved["whole_gpus"] < never["whole_gpus"] - 0.3  # type: ignore[operator]
    assert moved["violations"] == never["violations"]
    assert moved["failed"] == 0
