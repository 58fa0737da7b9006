"""Through the node agent: from a patch of the pod to a process that obeys, and what a killed agent costs."""

from __future__ import annotations

import threading
import time

from .bench import SHIM, STEPPING_CLOCK
from .figure import Figure, quantile
from .node import Node

POD = "00000000-0000-4000-8000-00000000000a"
OTHERS = [f"00000000-0000-4000-8000-{number:012d}" for number in range(1, 11)]
PATCHES_PER_S = 100


def measure(changes: int = 60) -> list[Figure]:
    """Latencies with a hundred patches a second beside; then the agent's death, and the day's clock set."""
    node = Node()
    try:
        node.place(POD, 0, 30)
        for uid in OTHERS:
            node.place(uid, 1, 9)
        agent = node.start_agent()
        node.wait_for(node.schedule_page.exists, within_s=20)
        client = node.run_client(POD)
        node.wait_for(lambda: node.report(POD).launches, within_s=20)
        figures = [_patched(node, changes), _woken(node, changes // 3)]
        node.patch(POD, 30, 1_000_000)
        time.sleep(1)
        start_ns = time.monotonic_ns()
        agent.kill()
        agent.wait()
        time.sleep(3)
        agent = node.start_agent()
        time.sleep(5)
        share = 100 * node.log.shares(start_ns, time.monotonic_ns()).get(POD, 0.0)
        figures.append(_held("share error while the agent is killed and back", share, 8, node, 1_000_001))
        for process in (agent, client):
            process.kill()
            process.wait()
        node.start_agent(LD_PRELOAD=str(STEPPING_CLOCK))
        node.patch(POD, 30, 1_000_002)
        node.run_client(POD, LD_PRELOAD=f"{STEPPING_CLOCK}:{SHIM}")
        node.wait_for(lambda: node.report(POD).generation == 1_000_002, within_s=10)
        time.sleep(1)
        start_ns = time.monotonic_ns()
        time.sleep(5)
        share = 100 * node.log.shares(start_ns, time.monotonic_ns()).get(POD, 0.0)
        figures.append(_held("the same, the day's clock set by an hour 20 times a second", share, 5, node, 1_000_003))
    finally:
        node.close()
    return figures


def _held(name: str, share: float, seconds: int, node: Node, generation: int) -> Figure:
    """That the share was 30 %, and that the agent of now is obeyed."""
    node.patch(POD, 50, generation)
    node.wait_for(lambda: node.report(POD).generation == generation, within_s=5)
    beside = f"{share:.2f} % of 30 % over {seconds} s; the next patch is obeyed"
    return Figure(name=name, value=abs(share - 30), unit="%", goal=1, beside=beside)


def _patched(node: Node, changes: int) -> Figure:
    stop = threading.Event()
    background = threading.Thread(target=_patch_others, args=(node, stop))
    background.start()
    delays_ms = []
    try:
        for number in range(changes):
            start_s = time.monotonic()
            node.patch(POD, 30 if number % 2 else 50, number + 2)
            _until(lambda: node.report(POD).generation == number + 2)  # noqa: B023 - called at once
            delays_ms.append((time.monotonic() - start_s) * 1e3)
            time.sleep(0.0731)
    finally:
        stop.set()
        background.join()
    beside = f"p50 {quantile(delays_ms, 0.5):.0f}, most {max(delays_ms):.0f} of {changes}; API server's double, k = 1"
    name = f"from API patch to obeyed, p95, {PATCHES_PER_S} patches/s"
    return Figure(name=name, value=quantile(delays_ms, 0.95), unit="ms", goal=240, beside=beside)


def _woken(node: Node, times: int) -> Figure:
    delays_ms = []
    for number in range(times):
        generation = 10_000 + 2 * number
        node.patch(POD, 0, generation)
        _until(lambda: node.report(POD).generation == generation and node.report(POD).waiting)  # noqa: B023
        time.sleep(0.0531)
        newest = node.log.newest
        start_ns = time.monotonic_ns()
        node.patch(POD, 30, generation + 1)
        _until(lambda: node.log.newest > newest)  # noqa: B023
        kernel = node.log.kernel(newest + 1)
        assert kernel
        delays_ms.append((kernel.launch_ns - start_ns) / 1e6)
    beside = f"p50 {quantile(delays_ms, 0.5):.0f}, most {max(delays_ms):.0f} of {times}"
    value = quantile(delays_ms, 0.95)
    return Figure(name="from API patch: parked to first launch, p95", value=value, unit="ms", goal=240, beside=beside)


def _patch_others(node: Node, stop: threading.Event) -> None:
    generation, next_s = 2, time.monotonic()
    while not stop.is_set():
        for uid in OTHERS:
            node.patch(uid, 8 + generation % 2, generation)
            next_s += 1 / PATCHES_PER_S
            time.sleep(max(0.0, next_s - time.monotonic()))
        generation += 1


def _until(condition) -> None:  # type: ignore[no-untyped-def]
    deadline_s = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline_s, "waited in vain"
        time.sleep(0.0005)
