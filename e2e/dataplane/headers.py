"""What NVIDIA's headers and runtimes say, from the wheels of CUDA 12 and 13: entry points, their variants, a driver.

A variant is what cuGetProcAddress can be asked for: a symbol, the version it came with and the kind of stream. The
driver made here exports every entry point, each a function of its own that does nothing, and resolves variants as a
driver does; so a resolver before it can be judged for all of them.
"""

from __future__ import annotations

import re
import subprocess
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

_TYPEDEF = re.compile(r"\bPFN_(cu[A-Z]\w*?)_v(\d+)(?:_(ptsz|ptds))?\)")
_PROTOTYPE = re.compile(r"CUresult\s+CUDAAPI\s+(cu\w+)\s*\(([^;]*?)\)\s*;", re.S)
_EDITION = re.compile(r"(_v\d+)?(_pt[sd][zs])?$")
_OBTAINS_MEMORY = re.compile(r"Alloc|MemCreate|ArrayCreate|PoolCreate|Import|OpenMemHandle|Launch")


@dataclass(frozen=True, slots=True, order=True)
class Variant:
    """One answer of cuGetProcAddress."""

    symbol: str
    version: int
    per_thread: bool
    export: str


@dataclass(frozen=True, slots=True)
class Toolkit:
    """A CUDA runtime wheel as installed."""

    name: str
    root: Path

    @property
    def runtime(self) -> Path:
        return next(self.root.glob("lib/libcudart.so.*"))

    def header(self, name: str = "cuda.h") -> str:
        return (self.root / "include" / name).read_text()


def toolkits() -> list[Toolkit]:
    """CUDA 12 and 13, from the wheels nvidia-cuda-runtime-cu12 and nvidia-cuda-runtime."""
    spec = find_spec("nvidia")
    places = [Path(place) for place in (spec.submodule_search_locations if spec else None) or ()]
    found = [(name, place / folder) for place in places for name, folder in (("12", "cuda_runtime"), ("13", "cu13"))]
    return [Toolkit(name, root) for name, root in found if (root / "include" / "cuda.h").exists()]


def symbols_to_review(header: str) -> set[str]:
    """Symbols that take a stream or may obtain device memory: those a gate must have an opinion on."""
    return {
        _EDITION.sub("", name)
        for name, arguments in _PROTOTYPE.findall(header)
        if re.search(r"CUstream[ *]", arguments) or _OBTAINS_MEMORY.search(name)
    }


def variants(toolkit: Toolkit, exports: Iterable[str]) -> list[Variant]:
    """All that a toolkit names, with the export of each: per kind of stream the n-th version is the n-th edition."""
    named = set(re.findall(r"\bcu[A-Z]\w*", toolkit.header()))
    known = {name for name in exports if re.sub("_pt[sd][zs]$", "", name) in named}
    versions: Mapping[tuple[str, str], set[int]] = defaultdict(set)
    for symbol, version, ending in _TYPEDEF.findall(toolkit.header("cudaTypedefs.h")):
        versions[symbol, ending].add(int(version))
    found = []
    for (symbol, ending), of_symbol in versions.items():
        tail = f"_{ending}" if ending else ""
        editions = [name for n in range(1, 9) if (name := symbol + (f"_v{n}" if n > 1 else "") + tail) in known]
        ordered = sorted(of_symbol)
        for version, export in zip(ordered[-len(editions) :], editions[-len(ordered) :], strict=False):
            found.append(Variant(symbol, version, bool(ending), export))
    return sorted(found)


def make_driver(folder: Path, exports: Iterable[str], of: Iterable[Variant], version: int) -> Path:
    """Compiles the driver; returns its path."""
    rows = "".join(f'{{"{v.symbol}", {v.version}, {int(v.per_thread)}, (void *){v.export}}},\n' for v in of)
    own = {"cuGetProcAddress", "cuGetProcAddress_v2", "cuDriverGetVersion", "cuInit"}
    stubs = "".join(f"int {name}(void) {{ return 801; }}\n" for name in sorted(set(exports) - own))
    text = _DRIVER.replace("@STUBS@", stubs).replace("@ROWS@", rows).replace("@VERSION@", str(version))
    (folder / "driver.c").write_text(text)
    made = folder / "libcuda.so.1"
    # Functions of equal bodies must stay functions of their own.
    flags = ["-shared", "-fPIC", "-O0", "-fno-builtin", "-Wl,-soname,libcuda.so.1", "-Wl,-Bsymbolic"]
    subprocess.run(["gcc", *flags, str(folder / "driver.c"), "-o", str(made)], check=True)
    return made


_DRIVER = """
#include <stddef.h>
#include <stdint.h>
#include <string.h>
@STUBS@
int cuInit(unsigned flags) { (void)flags; return 0; }
int cuDriverGetVersion(int *version) { *version = @VERSION@; return 0; }
int cuGetProcAddress(const char *symbol, void **function, int version, uint64_t flags);
int cuGetProcAddress_v2(const char *symbol, void **function, int version, uint64_t flags, int *status);
static const struct { const char *symbol; int version, per_thread; void *function; } rows[] = {
@ROWS@};
int cuGetProcAddress_v2(const char *symbol, void **function, int version, uint64_t flags, int *status) {
    int best = -1;
    for (int i = 0; i < (int)(sizeof rows / sizeof *rows); i++) {
        if (strcmp(rows[i].symbol, symbol) || rows[i].version > version) continue;
        if (rows[i].per_thread && !(flags & 2)) continue;
        if (best < 0 || rows[i].per_thread > rows[best].per_thread ||
            (rows[i].per_thread == rows[best].per_thread && rows[i].version > rows[best].version)) best = i;
    }
    *function = best < 0 ? NULL : rows[best].function;
    if (status) *status = best < 0;
    return best < 0 ? 500 : 0;
}
int cuGetProcAddress(const char *symbol, void **function, int version, uint64_t flags) {
    return cuGetProcAddress_v2(symbol, function, version, flags, NULL);
}
"""
