"""The emulated GPU's own record of who ran which kernel when: the judge in tests of shares.

It knows nothing of pages, annotations or shims; it reads the device's memory and nothing else.

    python -m e2e.emulated_gpu.kernel_log --gpu 0 --seconds 5
"""

from __future__ import annotations

import argparse
import mmap
import os
import struct
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(os.environ.get("HASGPU_EMULATED_DIR", "/run/hasgpu-emulated"))

_MAGIC = 0x3155504744554D45
_VERSION = 1
_HEADER = struct.Struct("<QII QQQ QQQ Q 48s 64s")
_RECORD = struct.Struct("<Q i I I I 64s 32s")
_ENTRY = struct.Struct("<QQQQQQ I I 32s")
_LAUNCHED_AHEAD_NS = 60_000_000_000
"""No kernel ends later than this after its launch; the search for older ones stops here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """One kernel that has run. Times are CLOCK_MONOTONIC, as time.monotonic_ns()."""

    seq: int
    client: int
    pid: int
    """In the PID namespace of the client itself."""
    pod: str
    program: str
    name: str
    sm_percent: int
    lane: int
    launch_ns: int
    start_ns: int
    end_ns: int


class KernelLog:
    """A view of one GPU's log."""

    def __init__(self, gpu: int, root: Path = ROOT) -> None:
        file = os.open(root / "gpus" / str(gpu) / "state", os.O_RDONLY)
        try:
            self._memory = mmap.mmap(file, 0, prot=mmap.PROT_READ)
        finally:
            os.close(file)
        header = _HEADER.unpack_from(self._memory)
        if header[:2] != (_MAGIC, _VERSION) or (header[4], header[7]) != (_RECORD.size, _ENTRY.size):
            raise ValueError(f"GPU {gpu} under {root}: not a state of version {_VERSION}")
        self._records_at, self._record_count = header[3], header[5]
        self._log_at, self._entry_count = header[6], header[8]
        self.uuid = header[10].rstrip(b"\0").decode()

    def close(self) -> None:
        """Gives the mapping back."""
        self._memory.close()

    @property
    def newest(self) -> int:
        """The seq of the kernel that was launched last; 0 before the first."""
        return int(_HEADER.unpack_from(self._memory)[9]) - 1

    def kernel(self, seq: int) -> Kernel | None:
        """None where the ring has forgotten it or it is being written."""
        at = self._log_at + seq % self._entry_count * _ENTRY.size
        found, client, launch_ns, start_ns, end_ns, _, sm_percent, lane, name = _ENTRY.unpack_from(self._memory, at)
        if found != seq:
            return None
        record = self._records_at + client % self._record_count * _RECORD.size
        known, pid, _, _, _, pod, program = _RECORD.unpack_from(self._memory, record)
        if known != client:
            pid, pod, program = 0, b"", b""
        return Kernel(
            seq=seq,
            client=client,
            pid=pid,
            pod=_text(pod),
            program=_text(program),
            name=_text(name),
            sm_percent=sm_percent,
            lane=lane,
            launch_ns=launch_ns,
            start_ns=start_ns,
            end_ns=end_ns,
        )

    def after(self, seq: int) -> Iterator[Kernel]:
        """Kernels launched after `seq` that have ended, up to the first that has not: resume with the last seq."""
        for next_seq in range(max(seq + 1, self.newest - self._entry_count + 2), self.newest + 1):
            kernel = self.kernel(next_seq)
            if kernel is None:
                continue
            if kernel.end_ns > time.monotonic_ns():
                return
            yield kernel

    def between(self, start_ns: int, end_ns: int) -> list[Kernel]:
        """Kernels that ran at some time of the span, in the order of their launches."""
        found = []
        oldest = max(0, self.newest - self._entry_count + 1)
        for seq in range(self.newest, oldest, -1):
            kernel = self.kernel(seq)
            if kernel is None:
                continue
            if kernel.launch_ns < start_ns - _LAUNCHED_AHEAD_NS:
                break
            if kernel.start_ns < end_ns and kernel.end_ns > start_ns and kernel.end_ns > kernel.start_ns:
                found.append(kernel)
        return found[::-1]

    def busy_ns(self, start_ns: int, end_ns: int) -> dict[str, int]:
        """GPU time per pod within the span; "" is who is in no pod."""
        busy: dict[str, int] = defaultdict(int)
        for kernel in self.between(start_ns, end_ns):
            busy[kernel.pod] += min(kernel.end_ns, end_ns) - max(kernel.start_ns, start_ns)
        return dict(busy)

    def shares(self, start_ns: int, end_ns: int) -> dict[str, float]:
        """The part of the span in which each pod's kernels ran, 0 to 1: the time share of its SM lane."""
        return {pod: busy / (end_ns - start_ns) for pod, busy in self.busy_ns(start_ns, end_ns).items()}


def _text(raw: bytes) -> str:
    return raw.split(b"\0", 1)[0].decode(errors="replace")


def main() -> None:
    parser = argparse.ArgumentParser(description="Emulated: the GPU time each pod used, from the double's own log.")
    parser.add_argument("--gpu", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=5.0)
    options = parser.parse_args()
    log = KernelLog(options.gpu)
    start_ns = time.monotonic_ns()
    time.sleep(options.seconds)
    for pod, share in sorted(log.shares(start_ns, time.monotonic_ns()).items()):
        print(f"{log.uuid} {pod or '-'} {share:.1%}")


if __name__ == "__main__":
    main()
