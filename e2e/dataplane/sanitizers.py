"""The shim under the sanitizers of the compiler, and random pages for whoever reads them in C."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from .bench import PROGRAMS, ROOT, Bench
from .figure import Figure

A = "00000000-0000-4000-8000-00000000000a"
SHIM_SOURCES = ROOT / "plugin" / "shim"
# gcc warns that its thread sanitizer does not model fences; the pages are read by other processes only.
SANITIZERS = {"address,undefined": ("libasan.so", "libubsan.so"), "thread": ("libtsan.so",)}
CLIENTS: tuple[Sequence[object], ...] = (
    (PROGRAMS / "threads", 8, 2),
    (PROGRAMS / "client", "graph", 100, 1),
    (PROGRAMS / "client", "async", 200, 1, 4),
    (PROGRAMS / "client", "sync", 200, 1),
)
_REPORTS = ("WARNING: ThreadSanitizer", "ERROR: AddressSanitizer", "runtime error:")


def measure(pages: int = 300_000) -> list[Figure]:
    """What the sanitizers report of clients of many kinds, and of fuzzed pages."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        found = [_clients(Path(folder), name, libraries) for name, libraries in SANITIZERS.items()]
        return [*found, _fuzz(Path(folder), pages)]


def _clients(folder: Path, name: str, libraries: Sequence[str]) -> Figure:
    build = folder / name.split(",")[0]
    flags = f"-O1 -g -fsanitize={name} -Wno-tsan"
    shim = build / "libcuda.so.1"
    words = [f"BUILD={build}", f"CFLAGS={flags}", f"LDFLAGS=-fsanitize={name}", str(shim)]
    subprocess.run(["make", "-s", "-C", str(SHIM_SOURCES), *words], check=True, capture_output=True)
    preload = ":".join([*map(_library, libraries), str(shim)])
    bad, said = 0, []
    bench = Bench()
    try:
        bench.lay({A: 40})
        for client in CLIENTS:
            # The shadow memory of the sanitizers wants its places: no random ones.
            errors = str(folder / "report")
            told = {"LD_PRELOAD": preload, "ASAN_OPTIONS": f"detect_leaks=0:log_path={errors}"}
            told |= {"TSAN_OPTIONS": f"log_path={errors}", "UBSAN_OPTIONS": f"log_path={errors}"}
            child = bench.start(A, "setarch", "-R", *client, **told)
            child.communicate(timeout=60)
            texts = [path.read_text() for path in folder.glob("report.*")]
            reports = sum(text.count(report) for text in texts for report in _REPORTS)
            bad += reports + (child.returncode != 0)
            said.append(f"{Path(str(client[0])).name} {' '.join(str(word) for word in client[1:])}: {reports}")
    finally:
        bench.close()
    return Figure(name=f"reports of -fsanitize={name}", value=bad, unit="", goal=0, beside="; ".join(said))


def _library(name: str) -> str:
    found = subprocess.run(["gcc", f"-print-file-name={name}"], check=True, capture_output=True, text=True)
    return os.path.realpath(found.stdout.strip())


def _fuzz(folder: Path, pages: int) -> Figure:
    program = folder / "fuzz_pages"
    sources = [Path(__file__).with_name("fuzz_pages.c"), *(SHIM_SOURCES / name for name in _FUZZED)]
    includes = [f"-I{SHIM_SOURCES / part}" for part in ("include", "src", "build", "arbiter")]
    flags = ["-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-std=c11", "-D_GNU_SOURCE"]
    subprocess.run(["gcc", *flags, *includes, *map(str, sources), "-o", str(program)], check=True)
    bad = 0
    for seed in range(3):
        ran = subprocess.run([program, str(seed), str(pages // 3), folder], capture_output=True, text=True, timeout=300)
        bad += len(ran.stdout.splitlines()) + (ran.returncode != 0)
    return Figure(name=f"faults and nonsense in {pages} random pages", value=bad, unit="", goal=0)


_FUZZED = ("src/schedule.c", "arbiter/member.c")
