"""Who runs when: lanes, the 100 % of the SMs, and what a killed process leaves behind."""

from __future__ import annotations

import itertools
import time

import pytest

from e2e.emulated_gpu.kernel_log import Kernel
from tests.emulated_gpu.node import Node, said, wait_for


def ran_together(node: Node, *percents: int) -> list[Kernel]:
    mps = node.daemon("mps")
    programs = [node.start("hold", 2, **mps.client(percent)) for percent in percents]
    launched = [said(program) for program in programs]
    assert all(answer["launched"] == 0 for answer in launched)
    log = node.log()
    wait_for(lambda: len(list(log.after(0))) == 2 * len(percents))
    return list(log.after(0))


def overlaps(a: Kernel, b: Kernel) -> bool:
    return a.start_ns < b.end_ns and b.start_ns < a.end_ns


def test_clients_of_one_share_run_one_after_another(node: Node) -> None:
    kernels = ran_together(node, 50, 50)
    assert len({kernel.client for kernel in kernels}) == 2
    assert not any(overlaps(a, b) for a, b in itertools.combinations(kernels, 2))


def test_different_shares_run_side_by_side(node: Node) -> None:
    kernels = ran_together(node, 60, 40)
    assert any(overlaps(a, b) for a, b in itertools.combinations(kernels, 2))


def test_more_than_all_sms_wait(node: Node) -> None:
    kernels = ran_together(node, 60, 50)
    assert not any(overlaps(a, b) for a, b in itertools.combinations(kernels, 2) if a.sm_percent != b.sm_percent)


def test_lanes_can_be_those_of_clients(node: Node) -> None:
    node.tool("create", "--gpus", "1", "--lanes", "client", "--log-entries", "1024")
    kernels = ran_together(node, 50, 50)
    assert any(overlaps(a, b) for a, b in itertools.combinations(kernels, 2))


def test_a_killed_process_gives_its_turn_and_its_memory_back(node: Node) -> None:
    hog = node.start("hold", 200)  # 10 s of the device
    assert said(hog)["launched"] == 0
    assert "memory=" in node.tool("show").split("\n")[1]
    hog.kill()
    (next_one,) = node.run("run")
    assert next_one["total_ms"] < 100
    assert "pid=" not in node.tool("show")
    queued = [kernel for kernel in node.log().after(0) if kernel.name == "long"]
    assert sum(kernel.end_ns - kernel.start_ns for kernel in queued) < 2e9


def test_one_who_waits_behind_a_killed_process_moves_up(node: Node) -> None:
    hog = node.start("hold", 200)
    said(hog)
    waiting = node.start("run")
    wait_for(lambda: node.log().newest >= 201)
    hog.kill()
    assert said(waiting)["total_ms"] < 1000


def test_the_log_tells_shares_by_pod(node: Node) -> None:
    start_ns = time.monotonic_ns()
    node.run("run", 30, HASGPU_EMULATED_POD="one")
    node.run("run", 60, HASGPU_EMULATED_POD="two")
    log = node.log()
    busy = log.busy_ns(start_ns, time.monotonic_ns())
    assert busy["one"] == pytest.approx(30e6, rel=0.01)
    assert busy["two"] == pytest.approx(60e6, rel=0.01)
    first = next(log.after(0))
    middle_ns = first.start_ns + 500_000
    assert log.shares(first.start_ns, middle_ns) == {"one": pytest.approx(1.0)}
    assert (first.name, first.sm_percent, first.program[:6]) == ("wide", 100, "python")


def test_what_a_killed_process_had_queued_never_comes_back(node: Node) -> None:
    for launches in (200, 1):  # the second death moves reservations again
        killed = node.start("hold", launches)
        said(killed)
        killed.kill()
        killed.wait()
    assert node.run("run")[0]["total_ms"] < 200


def test_processes_killed_at_any_moment_leave_an_orderly_device(node: Node) -> None:
    for wait_ms in range(20, 60, 4):  # from before a context to behind the launches
        programs = [node.start("run", 1000) for _ in range(2)]
        time.sleep(wait_ms / 1000)
        for program in programs:
            program.kill()
            program.wait()
    assert node.run("run")[0]["total_ms"] < 200
    kernels = sorted(node.log().between(0, time.monotonic_ns()), key=lambda kernel: kernel.start_ns)
    assert not any(overlaps(a, b) for a, b in itertools.pairwise(kernels))
