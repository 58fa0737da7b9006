"""A process of a pod is killed again and again, at any instant and inside the shim's critical sections.

Its pod has a second process that stays, its row a mate: both must go on and get their quota, and nothing may be left
held. The shim is the one that is released; where it stands is seen by stepping it from outside (see killer.c).
"""

from __future__ import annotations

import json
import random
import subprocess
import time

from e2e.emulated_gpu.kernel_log import Kernel

from .bench import PROGRAMS, SHIM, Bench
from .figure import Figure

VICTIM = "00000000-0000-4000-8000-00000000000a"
MATE = "00000000-0000-4000-8000-00000000000b"
QUOTA = 40
ROUND = 50
LOCKED = ("pages_attach", "gate_pass", "account_open", "account_close", "account_reap", "gate_charge", "cost_learn")
"""Functions of the shim that run with its lock held."""


def measure(kills: int = 1000, seed: int = 8) -> list[Figure]:
    """Kills; then hangs, leaked slots, and what the survivors got meanwhile."""
    chance = random.Random(seed)
    bench = Bench(ahead=True)
    try:
        bench.start_mps()
        bench.lay({VICTIM: QUOTA, MATE: QUOTA}, sm=50)
        for uid in (VICTIM, MATE):
            bench.run(uid, "async", 500, kills + 60, CUDA_MPS_ACTIVE_THREAD_PERCENTAGE="50")
        time.sleep(0.5)
        held = own = hangs = leaks = 0
        places, busy, spans_ns = set(), {VICTIM: 0, MATE: 0}, 0
        symbols = _symbols()
        start_ns = time.monotonic_ns()
        for number in range(1, kills + 1):
            told = _kill(bench, chance, symbols, inside=number % 4 != 0)
            held, own = held + told["held"], own + told["own"]
            places.add(told["at"])
            leaks += bench.report(VICTIM).processes != 1
            if number % ROUND == 0 or number == kills:
                end_ns = time.monotonic_ns()
                kernels = bench.log.between(start_ns, end_ns)
                for uid in busy:
                    busy[uid] += _covered_ns([kernel for kernel in kernels if kernel.pod == uid], start_ns, end_ns)
                hangs += min(busy.values()) == 0 or not _starts(bench)
                spans_ns += end_ns - start_ns
                start_ns = time.monotonic_ns()
        shares = {uid: 100 * each_ns / spans_ns for uid, each_ns in busy.items()}
    finally:
        bench.close()
    where = (
        f"{held} of {kills} inside critical sections, {own} of them in the shim's own code at {len(places) - 1} places"
    )
    error = max(abs(share - QUOTA) for share in shares.values())
    got = f"survivor of the pod {shares[VICTIM]:.2f} %, row mate {shares[MATE]:.2f} % of {QUOTA} %"
    return [
        Figure(name=f"hangs after {kills} kill -9", value=hangs, unit="", goal=0, beside=where),
        Figure(name="process slots left held", value=leaks, unit="", goal=0),
        Figure(name="kills inside critical sections", value=held / kills, unit="", goal=0.5, least=True),
        Figure(name="others' share error meanwhile", value=error, unit="%", goal=2, beside=got),
    ]


def _covered_ns(kernels: list[Kernel], start_ns: int, end_ns: int) -> int:
    """The time in which any of them ran: two processes of a pod may run side by side and are charged once."""
    total_ns, until_ns = 0, start_ns
    for kernel in sorted(kernels, key=lambda kernel: kernel.start_ns):
        stop_ns = min(kernel.end_ns, end_ns)
        total_ns += max(0, stop_ns - max(kernel.start_ns, until_ns))
        until_ns = max(until_ns, stop_ns)
    return total_ns


def _kill(bench: Bench, chance: random.Random, symbols: dict[str, str], *, inside: bool) -> dict[str, bool]:
    delay_us, steps = chance.randint(0, 60_000), chance.randint(1, 300) if inside else 0
    killer = [PROGRAMS / "killer", delay_us, SHIM, symbols["hasgpu_lock"], symbols[chance.choice(LOCKED)], steps]
    client = [bench.client, "async", 300, 5]
    process = bench.start(VICTIM, *killer, *client, CUDA_MPS_ACTIVE_THREAD_PERCENTAGE="50")
    out, _ = process.communicate(timeout=30)
    answer: dict[str, bool] = json.loads(out.splitlines()[-1])
    return answer


def _starts(bench: Bench) -> bool:
    """A fresh process of the pod launches within a second."""
    before = bench.report(VICTIM).launches
    child = bench.run(VICTIM, "async", 300, 5, CUDA_MPS_ACTIVE_THREAD_PERCENTAGE="50")
    try:
        bench.wait_for(lambda: bench.report(VICTIM).launches > before + 20, within_s=1)
    except AssertionError:
        return False
    finally:
        child.kill()
        child.wait()
    return True


def _symbols() -> dict[str, str]:
    told = subprocess.run(["nm", str(SHIM)], check=True, capture_output=True, text=True).stdout
    rows = [line.split() for line in told.splitlines()]
    return {row[2]: row[0] for row in rows if len(row) == 3}
