"""NVML in a slice's container: the memory is the slice's, as the driver says too; everything else is the GPU's."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pynvml

from e2e.dataplane.bench import DOUBLE, SHIM, Bench, entry

A = "00000000-0000-4000-8000-00000000000a"
MIB = 1 << 20
PROXY = SHIM.with_name("libnvidia-ml.so.1")
BOTH = {"LD_PRELOAD": f"{SHIM}:{PROXY}", "HASGPU_REAL_LIBNVML": str(DOUBLE / "libnvidia-ml.so.1")}
ASK = """
import pynvml
pynvml.nvmlInit()
gpu = pynvml.nvmlDeviceGetHandleByIndex(0)
def told(**more):
    found = pynvml.nvmlDeviceGetMemoryInfo(gpu, **more)
    return [found.total >> 20, found.used >> 20, found.free >> 20]
"""


def test_nvml_and_the_driver_agree_on_the_slice(bench: Bench) -> None:
    bench.publish(entry(A, 0, 50, memory_bytes=1024 * MIB))
    program = """
        open_context()
        free, total, pointer = (ctypes.c_size_t() for _ in range(3))
        assert cuda.cuMemAlloc_v2(ctypes.byref(pointer), ctypes.c_size_t(200 << 20)) == 0
        assert cuda.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total)) == 0
        answer = [told(), told(version=pynvml.nvmlMemory_v2), [total.value >> 20, 200, free.value >> 20]]
        """
    answer = bench.python(A, program, before=ASK, **BOTH)
    assert answer == [[1024, 200, 824]] * 3


def test_asking_nvml_does_not_let_go_of_the_process_slot(bench: Bench) -> None:
    bench.publish(entry(A, 0, 50, memory_bytes=1024 * MIB))
    program = """
        import sys, time
        open_context()
        pointer = u64()
        assert cuda.cuMemAlloc_v2(ctypes.byref(pointer), ctypes.c_size_t(200 << 20)) == 0
        told()
        print('"asked"', flush=True)
        time.sleep(5)
        answer = 0
        """
    child = bench.start_python(A, program, before=ASK, **BOTH)
    assert child.stdout
    assert child.stdout.readline() == '"asked"\n'
    assert (bench.report(A).processes, bench.report(A).memory_bytes) == (1, 200 * MIB)


def test_outside_a_pod_the_gpu_is_whole(bench: Bench) -> None:
    assert bench.python(None, "answer = told()[0]", before=ASK, **BOTH) == 16384


def test_all_else_is_the_drivers(bench: Bench) -> None:
    program = "answer = [pynvml.nvmlDeviceGetName(gpu), pynvml.nvmlSystemGetCudaDriverVersion()]"
    answer = bench.python(A, program, before=ASK, **BOTH)
    assert answer == ["Tesla V100-SXM2-16GB", 12040]


def test_the_proxy_has_every_name_of_nvidias_binding(built: None) -> None:
    exported = subprocess.run(["nm", "-D", "--defined-only", PROXY], check=True, capture_output=True, text=True).stdout
    names = {line.split()[-1] for line in exported.splitlines()}
    asked = set(re.findall(r'_nvmlGetFunctionPointer\("(\w+)"\)', Path(pynvml.__file__).read_text()))
    assert len(asked) > 300
    assert asked <= names


def test_without_nvml_there_is_no_library_and_nothing_breaks(bench: Bench) -> None:
    program = (
        "import pynvml\ntry:\n    pynvml.nvmlInit()\n    answer = 'found'\n"
        "except pynvml.NVMLError as error:\n    answer = error.value"
    )
    missing = BOTH | {"HASGPU_REAL_LIBNVML": "/nowhere"}
    assert bench.python(A, program, **missing) == 12
