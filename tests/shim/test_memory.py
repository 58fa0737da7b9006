"""Device memory of a slice: what fits, what is refused, what is shown."""

from __future__ import annotations

from e2e.dataplane.bench import Bench, entry

A = "00000000-0000-4000-8000-00000000000a"
MIB = 1 << 20


def test_beyond_the_slice_is_out_of_memory_and_frees_give_room(bench: Bench) -> None:
    bench.publish(entry(A, 0, 50, memory_bytes=1024 * MIB))
    answer = bench.python(
        A,
        """
        open_context()
        first, second, third = u64(), u64(), u64()
        size = ctypes.c_size_t(600 << 20)
        answer = [
            cuda.cuMemAlloc_v2(ctypes.byref(first), size),
            cuda.cuMemAlloc_v2(ctypes.byref(second), size),
            cuda.cuMemFree_v2(first),
            cuda.cuMemAllocAsync(ctypes.byref(second), size, None),
            cuda.cuMemAllocManaged(ctypes.byref(third), size, 1),
            cuda.cuMemFreeAsync(second, None),
            cuda.cuMemAllocManaged(ctypes.byref(third), size, 1),
        ]
        """,
    )
    assert answer == [0, 2, 0, 0, 2, 0, 0]
    report = bench.report(A)
    assert (report.refused_allocations, report.memory_peak_bytes, report.memory_bytes) == (2, 600 * MIB, 0)


def test_the_device_looks_as_small_as_the_slice(bench: Bench) -> None:
    bench.publish(entry(A, 0, 50, memory_bytes=1024 * MIB))
    answer = bench.python(
        A,
        """
        open_context()
        free, total, device_total, pointer = (ctypes.c_size_t() for _ in range(4))
        assert cuda.cuMemAlloc_v2(ctypes.byref(pointer), ctypes.c_size_t(200 << 20)) == 0
        assert cuda.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total)) == 0
        assert cuda.cuDeviceTotalMem_v2(ctypes.byref(device_total), 0) == 0
        answer = [value.value >> 20 for value in (free, total, device_total)]
        """,
    )
    assert answer == [824, 1024, 1024]


def test_before_there_is_a_page_the_environment_limits(bench: Bench) -> None:
    answer = bench.python(
        A,
        """
        open_context()
        pointer = u64()
        answer = cuda.cuMemAlloc_v2(ctypes.byref(pointer), ctypes.c_size_t(600 << 20))
        """,
        HASGPU_GPU_MEMORY_BYTES=str(500 * MIB),
        HASGPU_SCHEDULE_FILE="/nowhere",
    )
    assert answer == 2


def test_a_process_of_no_pod_is_left_alone(bench: Bench) -> None:
    answer = bench.python(
        None,
        """
        open_context()
        pointer = u64()
        answer = cuda.cuMemAlloc_v2(ctypes.byref(pointer), ctypes.c_size_t(8 << 30))
        """,
    )
    assert answer == 0


def test_memory_of_a_killed_process_comes_back(bench: Bench) -> None:
    bench.publish(entry(A, 0, 50, memory_bytes=1024 * MIB))
    take = """
        import os, signal
        open_context()
        pointer = u64()
        answer = cuda.cuMemAlloc_v2(ctypes.byref(pointer), ctypes.c_size_t(900 << 20))
        """
    assert bench.python(A, take) == 0
    child = bench.start(A, "sleep", "30")
    child.kill()
    assert bench.python(A, take) == 0
