"""Through the node agent: from a patch of the pod to a process that obeys, and what a killed agent costs."""

from __future__ import annotations

import threading
import time

from .figure import Figure, quantile
from .node import Node

POD = "00000000-0000-4000-8000-00000000000a"
OTHERS = [f"00000000-0000-4000-8000-{number:012d}" for number in range(1, 11)]
PATCHES_PER_S = 100


def measure(changes: int = 60) -> list[Figure]:
    """Latencies with a hundred patches a second beside; then the agent's death."""
    node = Node()
    try:
        node.place(POD, 0, 30)
        for uid in OTHERS:
            node.place(uid, 1, 9)
        agent = node.start_agent()
        node.wait_for(node.schedule_page.exists, within_s=20)
        node.run_client(POD)
        node.wait_for(lambda: node.report(POD).launches, within_s=20)
        figures = [_patched(node, changes), _woken(node, changes // 3)]
        node.patch(POD, 30, 1_000_000)
        time.sleep(1)
        start_ns = time.monotonic_ns()
        agent.kill()
        agent.wait()
        time.sleep(3)
        node.start_agent()
        time.sleep(5)
        share = 100 * node.log.shares(start_ns, time.monotonic_ns()).get(POD, 0.0)
        node.patch(POD, 50, 1_000_001)
        node.wait_for(lambda: node.report(POD).generation == 1_000_001, within_s=5)
    finally:
        node.close()
    beside = f"{share:.2f} % of 30 % over 8 s; the next patch is obeyed"
    name = "share error while the agent is killed and back"
    return [*figures, Figure(name=name, value=abs(share - 30), unit="%", goal=1, beside=beside)]


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
