"""How programs come to the driver: which ways lead through the shim, and which are known not to."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from e2e.dataplane.bench import DOUBLE, SHIM, UNNUMBERED, Bench

A = "00000000-0000-4000-8000-00000000000a"
DRIVER = DOUBLE / "libcuda.so.1"
WHOSE = """
class Info(ctypes.Structure):
    _fields_ = [
        ("file", ctypes.c_char_p), ("base", ctypes.c_void_p), ("name", ctypes.c_char_p), ("at", ctypes.c_void_p)
    ]
def whose(function):
    info = Info()
    ctypes.CDLL(None).dladdr(ctypes.cast(function, ctypes.c_void_p), ctypes.byref(info))
    return os.path.realpath(info.file.decode())
import os
"""
OURS, THEIRS = str(SHIM.resolve()), str(DRIVER.resolve())


@pytest.mark.parametrize(
    ("opened", "expected"),
    [
        pytest.param("ctypes.CDLL('libcuda.so.1')", OURS, id="by its name"),
        pytest.param(
            "ctypes.CDLL('libcuda.so.1', mode=os.RTLD_NOLOAD | os.RTLD_NOW)", OURS, id="if it is loaded already"
        ),
        pytest.param("ctypes.CDLL(None)", OURS, id="as a global symbol"),
        pytest.param(
            "ctypes.CDLL('libcuda.so.1', mode=os.RTLD_DEEPBIND | os.RTLD_NOW)", OURS, id="by name, bound deeply"
        ),
        pytest.param(f"ctypes.CDLL('{DRIVER}')", THEIRS, id="by its path: past the shim"),
        pytest.param("ctypes.CDLL('libcuda.so')", OURS, id="without its number"),
    ],
)
def test_where_a_way_to_the_driver_leads(bench: Bench, opened: str, expected: str) -> None:
    folder = bench.folder / "library-path"
    folder.mkdir()
    (folder / "libcuda.so").symlink_to(DRIVER)
    program = f"answer = whose({opened}.cuLaunchKernel)"
    told = {"LD_LIBRARY_PATH": f"{folder}:{DOUBLE}", "LD_PRELOAD": f"{SHIM}:{UNNUMBERED}"}
    assert bench.python(None, program, before=WHOSE, **told) == expected


def compiled(folder: Path, text: str, *flags: str) -> Path:
    source, made = folder / "program.c", folder / "program"
    source.write_text(text)
    subprocess.run(["gcc", "-O1", str(source), "-o", str(made), *flags], check=True)
    return made


def test_a_program_linked_to_the_driver_is_linked_to_the_shim(bench: Bench) -> None:
    text = """
        #define _GNU_SOURCE
        #include <dlfcn.h>
        #include <stdio.h>
        int cuLaunchKernel(void);
        int main(void) { Dl_info info; dladdr((void *)cuLaunchKernel, &info); puts(info.dli_fname); }
    """
    program = compiled(bench.folder, text, str(DRIVER), "-ldl", "-fPIC", "-pie")
    out, _ = bench.start(None, program, LD_LIBRARY_PATH=str(DOUBLE)).communicate(timeout=10)
    assert os.path.realpath(out.strip()) == OURS


def test_who_looks_for_the_next_definition_is_not_misled(bench: Bench) -> None:
    text = """
        #define _GNU_SOURCE
        #include <dlfcn.h>
        #include <stdio.h>
        #include <stdlib.h>
        char *getenv(const char *name) { return ((char *(*)(const char *))dlsym(RTLD_NEXT, "getenv"))(name); }
        int main(void) {
            puts(getenv("HOME") ? "found" : "none");
            puts(dlopen("libcuda.so.1", RTLD_NOW) ? "open" : "no");
        }
    """
    program = compiled(bench.folder, text, "-ldl", "-rdynamic")
    out, _ = bench.start(None, program, HOME="/").communicate(timeout=10)
    assert out.split() == ["found", "open"]


def test_threads_of_openmp_run_beside_it(bench: Bench) -> None:
    text = """
        #include <omp.h>
        #include <stdio.h>
        int main(void) {
            long total = 0;
        #pragma omp parallel for reduction(+ : total)
            for (int i = 0; i < 100000; i++) total += i;
            printf("%ld %d\\n", total, omp_get_max_threads() > 0);
        }
    """
    program = compiled(bench.folder, text, "-fopenmp")
    out, _ = bench.start(A, program, OMP_NUM_THREADS="4").communicate(timeout=10)
    assert out.split() == ["4999950000", "1"]


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_second_driver_in_the_process_is_told(bench: Bench, when: str) -> None:
    bench.lay({A: 50})
    copy = bench.folder / "copy" / "libcuda.so.1"
    program = f"""
        import time
        def second():
            ctypes.CDLL('{copy}')
        def launches(seconds):
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                assert cuda.cuLaunchKernel(function, 1, 1, 1, 1, 1, 1, 0, None, None, None) == 0
        when = {when!r}
        when == "before" and second()
        open_context()
        module, function, stream = (ctypes.c_void_p() for _ in range(3))
        table = b"kernel,fixed_us,work_us,plateau_percent\\nk,100,0,100\\n"
        assert cuda.cuModuleLoadData(ctypes.byref(module), table) == 0
        assert cuda.cuModuleGetFunction(ctypes.byref(function), module, b"k") == 0
        launches(0.1)
        when == "after" and second()
        launches(1.2)
        answer = 0
        """
    copy.parent.mkdir()
    copy.write_bytes(DRIVER.read_bytes())
    told = {"LD_PRELOAD": f"{SHIM}:{UNNUMBERED}"}  # not itself taken for a driver
    assert bench.python(A, program, **told) == 0
    assert bench.report(A).bypass_suspected == 1


def test_a_missing_shim_stops_no_program() -> None:
    ran = subprocess.run([sys.executable, "-c", "print(1)"], env={"LD_PRELOAD": "/opt/nowhere.so"}, capture_output=True)
    assert (ran.returncode, ran.stdout) == (0, b"1\n")
