"""The checks: each gives figures and whether they are as they should be. Ten minutes in all at most."""

from __future__ import annotations

import importlib.util
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

from .stage import PODS, Stage, answer

Figures = dict[str, object]
Check = Callable[[Stage], tuple[bool, Figures]]
KERNEL_US = 500
FIRST, SECOND = PODS
TORCH = """
import json, time, torch
a = torch.randn(2048, 2048, device="cuda")
start = time.monotonic()
while time.monotonic() - start < 5:
    a = torch.tanh(a @ a)
torch.cuda.synchronize()
print(json.dumps({"seconds": time.monotonic() - start, "version": torch.__version__}))
"""


def event_timing(stage: Stage) -> tuple[bool, Figures]:
    """What accounting costs on this driver: a timing event on the host, and a kernel by two of them."""
    found = answer(stage.start("events", KERNEL_US))
    return abs(found["kernel_us"] - KERNEL_US) < 0.1 * KERNEL_US, found


def throughput(stage: Stage) -> tuple[bool, Figures]:
    """Kernels a second with the shim at 100 % and without it, in turns."""
    stage.lay([100])
    plain, behind = [], []
    for _ in range(3):
        plain.append(_rate(answer(stage.start("async", 20, 3))))
        behind.append(_rate(answer(stage.start("async", 20, 3, pod=FIRST))))
    lost = 100 - 100 * statistics.median(behind) / statistics.median(plain)
    return lost <= 2, {"lost_percent": lost, "plain_per_s": plain, "behind_shim_per_s": behind}


def shares(stage: Stage) -> tuple[bool, Figures]:
    """The share of clients that always want more, at 30 %: it must be the quota."""
    stage.lay([30])
    kernel_us = float(answer(stage.start("events", KERNEL_US))["kernel_us"])
    found = {}
    for mode in ("sync", "async", "graph"):
        done = answer(stage.start(mode, KERNEL_US, 10, pod=FIRST))
        found[mode] = 100 * done["kernels"] * kernel_us / 1e6 / done["seconds"]
    return all(27 <= share <= 31 for share in found.values()), {"share_percent_at_30": found, "kernel_us": kernel_us}


def memory(stage: Stage) -> tuple[bool, Figures]:
    """A slice of 1 GiB shows and holds, whichever way memory is asked for; a context's own is not counted in it."""
    stage.lay([50], memory_bytes=1 << 30)

    def asked(task: str, size: int) -> Figures:
        return answer(stage.start(task, KERNEL_US, size, pod=FIRST))

    total = answer(stage.start("facts", KERNEL_US, pod=FIRST))["total_bytes"]
    figures: Figures = {"total_bytes": total, "context_bytes": _context_bytes(stage)}
    found = [asked("allocate", 512 << 20)["result"], asked("allocate", 2 << 30)["result"]]
    pools = [asked("pool", 512 << 20), asked("pool", 2 << 30)]
    graphs = [asked("graph_memory", 512 << 20)["results"], asked("graph_memory", 2 << 30)["results"]]
    figures |= {"allocations": found, "pools": pools, "graphs": graphs}
    held = [each["result"] for each in pools] == [0, 2] and graphs == [[0, 0], [0, 2]]
    return (total, found) == (1 << 30, [0, 2]) and held, figures


def _context_bytes(stage: Stage) -> int | None:
    """What NVML says that a context and a kernel take: what HASGPU_PINNED_SPARE_MIB must leave room for."""
    before = stage.memory_used()
    holder = stage.start("hold", KERNEL_US, stdin=subprocess.PIPE)
    assert holder.stdout
    holder.stdout.readline()
    during = stage.memory_used()
    holder.communicate(timeout=20)
    return None if before is None or during is None else during - before


def mps_partitions(stage: Stage) -> tuple[bool, Figures]:
    """Two users at once through one MPS server, each with the SMs of its own limit."""
    whole = int(answer(stage.start("facts", KERNEL_US))["sms"])
    users = (65532, 65533) if os.geteuid() == 0 else (None, None)
    with stage.mps():
        clients = [
            stage.start("async", KERNEL_US, 5, user=user, sm_percent=percent)
            for user, percent in zip(users, (30, 60), strict=True)
        ]
        first, second = (answer(client) for client in clients)
    seen = (first["sms"] / whole, second["sms"] / whole)
    figures: Figures = {"users": users, "sms": [first["sms"], second["sms"]], "of": whole}
    figures["kernels_per_s"] = [_rate(first), _rate(second)]
    return abs(seen[0] - 0.3) < 0.1 and abs(seen[1] - 0.6) < 0.1, figures


def row_mates(stage: Stage) -> tuple[bool, Figures]:
    """Two pods of one row through MPS: each gets its quota beside the other."""
    kernel_us = float(answer(stage.start("events", KERNEL_US))["kernel_us"])
    stage.lay([30, 60])
    with stage.mps():
        clients = [stage.start("async", KERNEL_US, 10, pod=pod, sm_percent=40) for pod in PODS]
        found = [answer(client) for client in clients]
    share = [100 * each["kernels"] * kernel_us / 1e6 / each["seconds"] for each in found]
    return abs(share[0] - 30) <= 3 and abs(share[1] - 60) <= 3, {"share_percent_at_30_and_60": share}


def pytorch(stage: Stage) -> tuple[bool, Figures] | None:
    """PyTorch behind the shim: it runs, is seen, and gets its share. None where it is not installed."""
    if importlib.util.find_spec("torch") is None:
        return None
    stage.lay([30])
    told = os.environ | stage.behind_shim(FIRST) | {"CUDA_VISIBLE_DEVICES": stage.device.uuid}
    before = stage.report(FIRST)
    child = subprocess.Popen([sys.executable, "-c", TORCH], env=told, stdout=subprocess.PIPE, text=True)
    found = answer(child)
    time.sleep(0.1)
    report = stage.report(FIRST)
    busy_s = (report.busy_ns - before.busy_ns) / 1e9
    figures: Figures = {
        "version": found["version"],
        "launches": report.launches - before.launches,
        "share_percent_at_30": 100 * busy_s / found["seconds"],
        "unknown_entry_points": report.unknown_entry_points,
        "bypass_suspected": report.bypass_suspected,
    }
    return report.launches > before.launches and busy_s / found["seconds"] < 0.33, figures


def _rate(done: Figures) -> float:
    kernels, seconds = done["kernels"], done["seconds"]
    assert isinstance(kernels, int)
    assert isinstance(seconds, float)
    return kernels / seconds


CHECKS = (event_timing, throughput, shares, memory, mps_partitions, row_mates, pytorch)
