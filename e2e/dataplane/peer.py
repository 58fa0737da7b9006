"""A peer beside ours on the same double: HAMi-core, which gates the driver API by preloading too. Emulated.

    python -m e2e.dataplane.peer LIBVGPU_SO [--seconds 10]

Its library is built outside this repository, with the options of its own build.sh, against cuda.h and nvml.h of the
wheels nvidia-cuda-runtime-cu12 and nvidia-nvml-dev-cu12; it wants the folder /tmp/vgpulock. Both run the same clients,
without MPS, whose kernels have 1,024 blocks, the peer's unit of account; it has 5 s to settle before all measuring.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .bench import Bench, build
from .share import A, B

CLIENTS = (("sync", 500, 1), ("async", 500, 1), ("graph", 100, 1), ("async", 300, 4))
"""Mode, microseconds of a kernel, streams."""
ASKED: tuple[dict[str, int], ...] = ({A: 30}, {A: 10, B: 90}, {A: 30, B: 70}, {A: 50, B: 50})
BLOCKS = 1024
SETTLE_S = 5.0


@dataclass(frozen=True, slots=True)
class Got:
    """Shares in percent, and the longest time in which no kernel of the pod began."""

    shares: tuple[float, ...]
    longest_ms: float

    def as_text(self) -> str:
        shares = " : ".join(f"{share:.1f}" for share in self.shares)
        return f"{shares} % | {self.longest_ms:.0f} ms"


def main() -> int:
    """Prints a line for each client and what was asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("library", type=Path, metavar="LIBVGPU_SO")
    parser.add_argument("--seconds", type=float, default=10)
    options = parser.parse_args()
    build()
    Path("/tmp/vgpulock").mkdir(exist_ok=True)
    print("emulated\n\n| client | asked | HAMi-core | longest wait | ours | longest wait |\n|---|---|---|---|---|---|")
    for client, asked in itertools.product(CLIENTS, ASKED):
        peers = _run(client, asked, options.seconds, options.library.resolve())
        ours = _run(client, asked, options.seconds, None)
        name = f"{client[0]} {client[1]} us" + (f" x {client[2]} streams" if client[2] > 1 else "")
        wanted = " : ".join(str(quota) for quota in asked.values())
        print(f"| {name} | {wanted} % | {peers.as_text()} | {ours.as_text()} |", flush=True)
    return 0


def _run(client: tuple[str, int, int], asked: Mapping[str, int], seconds: float, peer: Path | None) -> Got:
    mode, kernel_us, streams = client
    bench = Bench(ahead=True)
    try:
        bench.lay(dict(asked))
        for uid, quota in asked.items():
            told = _environment(bench, uid, quota, peer) if peer else {}
            bench.run(uid, mode, kernel_us, seconds + SETTLE_S + 5, streams, BLOCKS, **told)
        time.sleep(SETTLE_S)
        start_ns = time.monotonic_ns()
        time.sleep(seconds)
        end_ns = time.monotonic_ns()
        shares = bench.log.shares(start_ns, end_ns)
        kernels = bench.log.between(start_ns, end_ns)
        waits = [_longest_ms([each.start_ns for each in kernels if each.pod == uid], start_ns, end_ns) for uid in asked]
        return Got(tuple(100 * shares.get(uid, 0.0) for uid in asked), max(waits))
    finally:
        bench.close()


def _environment(bench: Bench, uid: str, quota: int, library: Path) -> dict[str, str]:
    """As the peer's device plugin sets it, with its limit in force though the GPU has no other user."""
    return {
        "LD_PRELOAD": str(library),
        "CUDA_REDIRECT": str(library),
        "LD_LIBRARY_PATH": str(bench.double),
        "CUDA_DEVICE_SM_LIMIT": str(quota),
        "CUDA_DEVICE_MEMORY_LIMIT": "4g",
        "CUDA_DEVICE_MEMORY_SHARED_CACHE": str(bench.folder / f"{uid}.cache"),
        "GPU_CORE_UTILIZATION_POLICY": "FORCE",
        "LIBCUDA_LOG_LEVEL": "0",
    }


def _longest_ms(starts_ns: list[int], start_ns: int, end_ns: int) -> float:
    points = [start_ns, *sorted(each for each in starts_ns if each > start_ns), end_ns]
    return max(after - before for before, after in itertools.pairwise(points)) / 1e6


if __name__ == "__main__":
    sys.exit(main())
