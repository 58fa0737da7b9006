"""A slice that holds, by hand: shares, live changes and failures, judged by the emulated GPU's own kernel log.

All figures are *emulated*.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import pytest

from e2e.commands import kubectl, kubectl_json
from e2e.emulated_gpu.kernel_log import KernelLog

from . import by_hand
from .conftest import events, pods, until

WINDOW_NS = 40_000_000


@pytest.fixture
def ground(namespace: str) -> str:
    """A namespace in which the allocator's account may place pods."""
    by_hand.allow_allocator(namespace)
    return namespace


@pytest.fixture
def gpu() -> dict[str, Any]:
    """The last GPU without pods; what is laid is told at most every ten seconds."""
    free = until(
        lambda: [each for each in by_hand.gpus() if not each.get("status", {}).get("pods")], 30, "a GPU without pods"
    )
    last: dict[str, Any] = free[-1]
    return last


@pytest.fixture
def log(gpu: dict[str, Any]) -> Iterator[KernelLog]:
    """What that GPU ran."""
    for index in range(len(by_hand.gpus())):
        opened = KernelLog(index)
        if opened.uuid == gpu["spec"]["uuid"]:
            yield opened
            opened.close()
            return
        opened.close()
    pytest.fail(f"no kernel log of GPU {gpu['spec']['uuid']} on this machine")


def run(namespace: str, name: str, gpu: dict[str, Any], **wanted: Any) -> str:
    """A busy pod with its slice; returns its UID."""
    by_hand.create(namespace, name, shim=wanted.pop("shim", True))
    return by_hand.place(namespace, name, gpu, **wanted)


def shares(log: KernelLog, seconds: float) -> dict[str, float]:
    """Each pod's part of the time from now on."""
    begin_ns = time.monotonic_ns()
    time.sleep(seconds)
    return log.shares(begin_ns, time.monotonic_ns() - 10_000_000)


def running(log: KernelLog, *uids: str) -> Callable[[], bool]:
    """Has each of the pods run a kernel in the last moments?"""
    return lambda: set(uids) <= set(log.busy_ns(time.monotonic_ns() - 500_000_000, time.monotonic_ns()))


def test_two_pods_of_a_row_get_their_shares_and_take_turns(ground: str, gpu: dict[str, Any], log: KernelLog) -> None:
    first, second = run(ground, "a", gpu, sm=50, quota=30), run(ground, "b", gpu, sm=50, quota=60)
    until(running(log, first, second), 30, "both pods run kernels")
    time.sleep(1)
    begin_ns = time.monotonic_ns()
    time.sleep(10)
    end_ns = time.monotonic_ns() - 10_000_000
    seen, together = log.shares(begin_ns, end_ns), overlap(log, begin_ns, end_ns)
    print(f"emulated: shares over 10 s {seen[first]:.3f} and {seen[second]:.3f}, asked 0.30 and 0.60")
    print(f"emulated: both at once {together:.1%} of the time")
    assert_holds(seen[first], 0.30)
    assert_holds(seen[second], 0.60)
    assert together < 0.05


def test_without_the_shim_the_share_does_not_hold(ground: str, gpu: dict[str, Any], log: KernelLog) -> None:
    uid = run(ground, "wild", gpu, sm=50, quota=30, shim=False)
    until(running(log, uid), 30, "the pod runs kernels")
    assert shares(log, 5)[uid] > 0.5


def test_a_quota_patch_takes_effect_in_the_running_process(ground: str, gpu: dict[str, Any], log: KernelLog) -> None:
    """30 % of a 40 ms window are the slots 0-6 and 20-26 ms, 80 % are 0-16 and 20-36: a launch at 8-16 tells."""
    uid = run(ground, "a", gpu, sm=50, quota=30)
    until(running(log, uid), 30, "the pod runs kernels")
    before = container_id(ground, "a"), pids(log, uid)
    reactions_ms = []
    with by_hand.allocator(ground) as allocator:
        for _ in range(12):
            newest = log.newest
            sent_ns = allocator.patch("a", 80)
            reactions_ms.append((until_launch(log, uid, newest, 8, 16) - sent_ns) / 1e6)
            time.sleep(0.3)
            settled_ns = allocator.patch("a", 30) + 300_000_000
            newest = log.newest
            time.sleep(0.617)  # the odd rest lets the patches fall on all phases of the window
            late = [k for k in log.after(newest) if k.pod == uid and k.launch_ns > settled_ns]
            assert late
            assert [phase_ms(k.launch_ns) for k in late if phase_ms(k.launch_ns) > 8] == []
    p95_ms = statistics.quantiles(reactions_ms, n=20)[-1]
    print(f"emulated: patch to first launch, ms: median {statistics.median(reactions_ms):.0f}, p95 {p95_ms:.0f}")
    assert p95_ms <= 300
    assert (container_id(ground, "a"), pids(log, uid)) == before


def test_a_restarted_agent_is_not_noticed(ground: str, gpu: dict[str, Any], log: KernelLog) -> None:
    uid = run(ground, "a", gpu, sm=50, quota=30)
    until(running(log, uid), 30, "the pod runs kernels")
    begin_ns = time.monotonic_ns()
    agent = agent_pod()
    kubectl("delete", "pod", agent, "--namespace", "hasgpu-system", "--grace-period=0", "--force")
    until(lambda: agent_pod() not in ("", agent), 60, "another agent is ready")
    end_ns = time.monotonic_ns() - 10_000_000
    starts = [kernel.start_ns for kernel in log.between(begin_ns, end_ns) if kernel.pod == uid]
    gaps_ms = [(later - earlier) / 1e6 for earlier, later in pairwise(starts)]
    # The agent's start takes CPU that the pod's launches want, too: a share below its quota is no gap.
    print(f"emulated: longest pause while the agent restarted {max(gaps_ms):.0f} ms")
    assert max(gaps_ms) < 150
    assert log.shares(begin_ns, end_ns)[uid] < 0.32
    assert_holds(shares(log, 5)[uid], 0.30)


def test_a_pod_that_nobody_placed_gets_no_gpu_and_is_told_why(ground: str) -> None:
    by_hand.create(ground, "unplaced", gated=False)
    told = until(lambda: [e for e in events(ground) if "has no slice" in e["message"]], 30, "an Event with the reason")
    assert "allocator has not placed it" in told[0]["message"]


def test_the_gpu_object_tells_what_is_allocated_and_measured(ground: str, gpu: dict[str, Any], log: KernelLog) -> None:
    uid = run(ground, "a", gpu, sm=50, quota=60)
    until(running(log, uid), 30, "the pod runs kernels")
    time.sleep(12)
    seen = log.shares(time.monotonic_ns() - 10_000_000_000, time.monotonic_ns())[uid]
    status = kubectl_json("get", "gpu", gpu["metadata"]["name"])["status"]
    assert status["allocatedPercent"] == 30
    assert status["measuredPercent"] == pytest.approx(50 * seen, abs=5)
    kubectl("delete", "pod", "a", "--namespace", ground, "--wait=true")
    until(lambda: not kubectl_json("get", "gpu", gpu["metadata"]["name"])["status"]["pods"], 30, "the slice is free")


def assert_holds(share: float, quota: float) -> None:
    """Never above the quota; below it only by what a machine short of CPU keeps the client from launching."""
    assert 0.85 * quota < share < quota + 0.02


def until_launch(log: KernelLog, uid: str, newest: int, low_ms: float, high_ms: float) -> int:
    """When the pod first launched between these times of a half window, after the kernel ``newest``."""

    def found() -> int:
        launches = (kernel.launch_ns for kernel in log.after(newest) if kernel.pod == uid)
        return min((at_ns for at_ns in launches if low_ms < phase_ms(at_ns) < high_ms), default=0)

    launched_ns = until(found, 5, "a launch under the new quota", every_s=0.02)
    assert isinstance(launched_ns, int)
    return launched_ns


def overlap(log: KernelLog, begin_ns: int, end_ns: int) -> float:
    """The part of a span in which kernels of more than one pod run."""
    edges = sorted(
        edge
        for kernel in log.between(begin_ns, end_ns)
        for edge in ((kernel.start_ns, 1), (min(kernel.end_ns, end_ns), -1))
    )
    depth, since_ns, together_ns = 0, begin_ns, 0
    for at_ns, step in edges:
        together_ns += (at_ns - since_ns) * (depth > 1)
        depth, since_ns = depth + step, at_ns
    return together_ns / (end_ns - begin_ns)


def phase_ms(at_ns: int) -> float:
    """Time since the beginning of the half window."""
    return at_ns % (WINDOW_NS // 2) / 1e6


def container_id(namespace: str, name: str) -> str:
    (found,) = (pod for pod in pods(namespace) if pod["metadata"]["name"] == name)
    return str(found["status"]["containerStatuses"][0]["containerID"])


def pids(log: KernelLog, uid: str) -> set[int]:
    now_ns = time.monotonic_ns()
    return {kernel.pid for kernel in log.between(now_ns - 500_000_000, now_ns) if kernel.pod == uid}


def agent_pod() -> str:
    """The ready agent's name; empty where there is none."""
    selector = "app.kubernetes.io/component=node"
    found = kubectl_json("get", "pods", "--namespace", "hasgpu-system", "-l", selector)["items"]
    ready = [
        pod["metadata"]["name"]
        for pod in found
        if "deletionTimestamp" not in pod["metadata"]
        and any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", []))
    ]
    return str(ready[0]) if ready else ""
