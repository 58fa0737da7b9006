"""Which function a program gets for a symbol, a version and a kind of stream; and what the shim costs others."""

from __future__ import annotations

import os
import subprocess

from e2e.dataplane.bench import ROOT, SHIM, UNNUMBERED, Bench, entry

A = "00000000-0000-4000-8000-00000000000a"
ASK = """
import os
def ask(symbol, version, flags, resolver="cuGetProcAddress_v2"):
    found, status = ctypes.c_void_p(), ctypes.c_int(-1)
    more = (ctypes.byref(status),) if resolver.endswith("_v2") else ()
    rc = getattr(cuda, resolver)(symbol.encode(), ctypes.byref(found), version, u64(flags), *more)
    return rc, found.value
def name_of(address):
    class Info(ctypes.Structure):
        _fields_ = [
            ("file", ctypes.c_char_p), ("base", ctypes.c_void_p), ("name", ctypes.c_char_p), ("at", ctypes.c_void_p)
        ]
    info = Info()
    ctypes.CDLL(None).dladdr(ctypes.c_void_p(address), ctypes.byref(info))
    ours = info.file and os.path.realpath(info.file.decode()) == os.path.realpath(os.environ["LD_PRELOAD"])
    return ("shim " if ours else "driver ") + (info.name or b"?").decode()
cuda.cuInit(0)
"""


VARIANTS = [
    ("cuLaunchKernel", 4000, 0, "shim cuLaunchKernel"),
    ("cuLaunchKernel", 12000, 1, "shim cuLaunchKernel"),
    ("cuLaunchKernel", 7000, 2, "shim cuLaunchKernel_ptsz"),
    ("cuLaunchKernelEx", 12000, 2, "shim cuLaunchKernelEx_ptsz"),
    ("cuLaunchCooperativeKernel", 9000, 2, "shim cuLaunchCooperativeKernel_ptsz"),
    ("cuGraphLaunch", 12000, 0, "shim cuGraphLaunch"),
    ("cuGraphLaunch", 12000, 2, "shim cuGraphLaunch_ptsz"),
    ("cuMemAlloc", 3020, 0, "shim cuMemAlloc_v2"),
    ("cuGetProcAddress", 11030, 0, "shim cuGetProcAddress"),
    ("cuGetProcAddress", 12000, 0, "shim cuGetProcAddress_v2"),
    ("cuStreamBeginCapture", 10010, 2, "shim cuStreamBeginCapture_v2_ptsz"),
    ("cuMemFree", 12000, 2, "shim cuMemFree_v2"),
    ("cuEventRecord", 12000, 0, "driver cuEventRecord"),
    ("cuStreamIsCapturing", 12000, 2, "driver cuStreamIsCapturing_ptsz"),
]


def test_each_variant_is_answered_by_itself(bench: Bench) -> None:
    asked = [(symbol, version, flags) for symbol, version, flags, _ in VARIANTS]
    program = ASK + f"answer = [name_of(ask(*words)[1]) for words in {asked!r}]"
    assert bench.python(None, program) == [expected for *_, expected in VARIANTS]


def test_the_first_form_of_the_resolver_answers_alike(bench: Bench) -> None:
    program = ASK + "answer = name_of(ask('cuLaunchKernel', 7000, 2, 'cuGetProcAddress')[1])"
    assert bench.python(None, program) == "shim cuLaunchKernel_ptsz"


def test_what_the_driver_does_not_have_stays_unknown(bench: Bench) -> None:
    assert bench.python(None, ASK + "answer = ask('cuNoSuchThing', 12000, 0)[0]") == 500


def test_names_not_in_the_driver_fail_when_called_and_not_before(bench: Bench) -> None:
    assert bench.python(None, "cuda.cuInit(0)\nanswer = cuda.cuCoredumpDeregisterStartCallback(None)") == 500


def test_without_any_driver_there_is_no_device(bench: Bench) -> None:
    assert bench.python(None, "answer = cuda.cuInit(0)", HASGPU_REAL_LIBCUDA="/nowhere") == 100


def test_launches_of_no_pod_pass_ungated(bench: Bench) -> None:
    child = bench.run(None, "sync", 100, 0.2)
    assert bench.result(child)["launches"] > 100


def test_a_capture_is_neither_gated_nor_charged(bench: Bench) -> None:
    bench.publish(entry(A, 0, 0))
    child = bench.run(A, "graph", 100, 0.5)
    assert bench.log.newest == 0
    child.kill()


def test_a_forked_child_registers_for_itself(bench: Bench) -> None:
    bench.publish(entry(A, 0, 50))
    program = """
        import os
        open_context()
        pointer = u64()
        assert cuda.cuMemAlloc_v2(ctypes.byref(pointer), ctypes.c_size_t(100 << 20)) == 0
        if os.fork() == 0:
            os._exit(0)
        os.wait()
        answer = cuda.cuMemAlloc_v2(ctypes.byref(pointer), ctypes.c_size_t(100 << 20))
        """
    assert bench.python(A, program) == 0
    assert bench.report(A).memory_peak_bytes == 200 << 20


def test_a_program_without_cuda_pays_nothing() -> None:
    def cpu_s(environment: dict[str, str]) -> float:
        best = 1.0
        for _ in range(15):
            _, status, usage = os.wait4(os.posix_spawn("/bin/true", ["true"], environment), 0)
            assert status == 0
            best = min(best, usage.ru_utime + usage.ru_stime)
        return best

    everything = f"{SHIM}:{UNNUMBERED}:{SHIM.with_name('libnvidia-ml.so.1')}"
    assert cpu_s({"LD_PRELOAD": everything}) - cpu_s({}) < 0.001


def test_the_shim_needs_nothing_but_libc(built: None) -> None:
    dynamic = subprocess.run(["readelf", "-d", SHIM], check=True, capture_output=True, text=True).stdout
    assert "[libcuda.so.1]" in dynamic
    assert [line.split("[")[1] for line in dynamic.splitlines() if "NEEDED" in line] == ["libc.so.6]"]


def test_every_hook_is_a_known_entry_point() -> None:
    names = (ROOT / "plugin" / "shim" / "entry_points.txt").read_text().split()
    exported = subprocess.run(["nm", "-D", "--defined-only", SHIM], check=True, capture_output=True, text=True).stdout
    assert {line.split()[-1] for line in exported.splitlines()} == set(names)
