"""NVIDIA's own runtimes and headers against the shim: which function they get, and that no new one slips by."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from e2e.dataplane.bench import PROGRAMS, ROOT, SHIM
from e2e.dataplane.headers import Toolkit, make_driver, symbols_to_review, toolkits, variants

HOOK = re.compile(r'^HOOK\((\w+), "(\w+)"', re.M)
INCLUDE = ROOT / "plugin" / "shim" / "include"
EXPORTS = (ROOT / "plugin" / "shim" / "entry_points.txt").read_text().split()
HOOKS = dict(HOOK.findall((INCLUDE / "hooks.def").read_text()))
PASSED = re.findall(r"^(cu\w+)$", (INCLUDE / "passed.txt").read_text(), re.M)
MUST_BE_OURS = re.compile(
    r"cu(Launch(?!HostFunc)\w*|GraphLaunch|GetProcAddress|MemAlloc(?!Host)\w*|MemCreate|Array(3D)?Create|"
    r"MipmappedArrayCreate|MemFree(?!Host)\w*|MemRelease|ArrayDestroy|MipmappedArrayDestroy|MemGetInfo|DeviceTotalMem)"
)
"""Whoever starts work or takes memory; written down apart from the shim's own table."""
TOOLKITS = [pytest.param(toolkit, id=f"CUDA {toolkit.name}") for toolkit in toolkits()]


def test_both_toolkits_are_there() -> None:
    assert [toolkit.name for toolkit in toolkits()] == ["12", "13"]


@pytest.mark.parametrize("toolkit", TOOLKITS)
def test_every_call_that_takes_a_stream_or_memory_was_looked_at(toolkit: Toolkit) -> None:
    unknown = symbols_to_review(toolkit.header()) - set(HOOKS.values()) - set(PASSED)
    assert not unknown, f"hook these or write down in passed.txt why not: {sorted(unknown)}"


def test_nothing_is_both_hooked_and_passed() -> None:
    assert not set(HOOKS.values()) & set(PASSED)


def answers(toolkit: Toolkit, folder: Path, preload: Path, program: str, **extra: str) -> list[list[str]]:
    """Runs a program before the shim and a driver that has all of the toolkit's variants; the lines it leaves."""
    found = variants(toolkit, EXPORTS)
    environment = {
        "LD_PRELOAD": str(preload),
        "HASGPU_REAL_LIBCUDA": str(make_driver(folder, EXPORTS, found, int(toolkit.name) * 1000 + 50)),
        "RECORD_OF": str(SHIM),
        "RECORD_TO": str(folder / "asked"),
    }
    subprocess.run([sys.executable, "-c", program], env=environment | extra, check=True)
    return [line.split() for line in (folder / "asked").read_text().splitlines()]


@pytest.mark.parametrize("toolkit", TOOLKITS)
def test_the_real_runtime_gets_ours_where_it_must_and_the_drivers_elsewhere(
    toolkit: Toolkit, tmp_path: Path, built: None
) -> None:
    program = f"import ctypes\nctypes.CDLL('{toolkit.runtime}').cudaGetDeviceCount(ctypes.byref(ctypes.c_int()))"
    asked = answers(toolkit, tmp_path, PROGRAMS / "recorder" / "libcuda.so.1", program)
    answered = [(symbol, file, name) for symbol, _, _, result, file, name in asked if result == "0"]
    assert len(answered) > 350  # the others are of graphics interfaces
    check(answered)
    per_thread = {name for _, _, name in answered if name.endswith(("_ptsz", "_ptds"))}
    assert len(per_thread) > 60


@pytest.mark.parametrize("toolkit", TOOLKITS)
def test_every_variant_in_the_header_is_answered_by_itself(toolkit: Toolkit, tmp_path: Path, built: None) -> None:
    found = variants(toolkit, EXPORTS)
    questions = [(v.symbol, v.version, 2 if v.per_thread else 1) for v in found]
    program = (
        "import ctypes\ncuda = ctypes.CDLL('libcuda.so.1')\nat = ctypes.c_void_p()\n"
        f"for symbol, version, flags in {questions!r}:\n"
        "    cuda.cuGetProcAddress_v2(symbol.encode(), ctypes.byref(at), version, ctypes.c_uint64(flags), None)\n"
    )
    asked = answers(toolkit, tmp_path, PROGRAMS / "recorder" / "libcuda.so.1", program)
    answered = [(symbol, file, name) for symbol, _, _, result, file, name in asked if result == "0"]
    assert [name for _, _, name in answered] == [v.export for v in found]
    check(answered)


def check(answered: list[tuple[str, str, str]]) -> None:
    ours = str(SHIM.resolve())
    for symbol, file, name in answered:
        hooked = str(Path(file).resolve()) == ours
        assert hooked == (name in HOOKS), f"{symbol} led to {name} in {file}"
        if MUST_BE_OURS.fullmatch(symbol) and not is_of_cuda_3(name):
            assert hooked, f"{symbol} led past the shim to {name}"


def is_of_cuda_3(name: str) -> bool:
    """32-bit forms that no runtime since CUDA 4 asks for."""
    editions = {export.removesuffix("_v2") for export in HOOKS if export.endswith("_v2")}
    return name in editions
