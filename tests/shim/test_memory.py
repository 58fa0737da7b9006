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
    in_chunks = 608  # what the driver's pool took for the second one
    assert (report.refused_allocations, report.memory_peak_bytes, report.memory_bytes) == (2, in_chunks * MIB, 0)


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


POOLED = """
def held():
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    assert cuda.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total)) == 0
    return (total.value - free.value) >> 20
def allocate(mib):
    return cuda.cuMemAllocAsync(ctypes.byref(pointer), ctypes.c_size_t(mib << 20), None)
def keep(pool, bytes):
    assert cuda.cuMemPoolSetAttribute(pool, 4, ctypes.byref(u64(bytes))) == 0
pointer = u64()
"""


def test_what_a_pool_keeps_is_held_and_goes_back_before_anybody_is_refused(bench: Bench) -> None:
    bench.publish(entry(A, 0, 50, memory_bytes=1024 * MIB))
    program = """
        open_context()
        pool, other = ctypes.c_void_p(), u64()
        assert cuda.cuDeviceGetMemPool(ctypes.byref(pool), 0) == 0
        keep(pool, 1 << 40)
        answer = [allocate(600), held()]
        answer += [cuda.cuMemFreeAsync(pointer, None), cuda.cuStreamSynchronize(None), held()]
        answer += [allocate(600), held()]  # served from what is kept
        answer += [cuda.cuMemAlloc_v2(ctypes.byref(other), ctypes.c_size_t(600 << 20))]
        answer += [cuda.cuMemFreeAsync(pointer, None)]
        answer += [cuda.cuMemAlloc_v2(ctypes.byref(other), ctypes.c_size_t(600 << 20)), held()]
        """
    in_chunks = 608
    assert bench.python(A, program, before=POOLED) == [
        *(0, in_chunks, 0, 0, in_chunks),
        *(0, in_chunks, 2, 0),
        *(0, 600),
    ]
    assert bench.report(A).refused_allocations == 1


def test_pools_of_ones_own_count_until_they_are_destroyed_and_more_than_can_be_counted_do_no_harm(bench: Bench) -> None:
    bench.publish(entry(A, 0, 50, memory_bytes=1024 * MIB))
    program = """
        open_context()
        def from_new_pool():
            pool = ctypes.c_void_p()
            assert cuda.cuMemPoolCreate(ctypes.byref(pool), None) == 0
            keep(pool, 1 << 40)
            assert cuda.cuMemAllocFromPoolAsync(ctypes.byref(pointer), ctypes.c_size_t(20 << 20), pool, None) == 0
            assert cuda.cuMemFreeAsync(pointer, None) == 0
            return pool
        pools = [from_new_pool() for _ in range(20)]
        answer = [held()]
        answer += [sum(cuda.cuMemPoolDestroy(pool) for pool in pools), held(), allocate(900), allocate(200)]
        """
    assert bench.python(A, program, before=POOLED) == [16 * 32, 0, 0, 0, 2]


def test_a_pool_that_keeps_nothing_gives_back_at_a_wait(bench: Bench) -> None:
    bench.publish(entry(A, 0, 50, memory_bytes=1024 * MIB))
    program = """
        open_context()
        answer = [allocate(600), cuda.cuMemFreeAsync(pointer, None), held()]
        answer += [cuda.cuStreamSynchronize(None), held(), allocate(1100)]
        """
    assert bench.python(A, program, before=POOLED) == [0, 0, 608, 0, 0, 2]


def test_a_graphs_own_memory_is_counted_and_a_graph_too_large_is_refused(bench: Bench) -> None:
    bench.publish(entry(A, 0, 50, memory_bytes=512 * MIB))
    program = """
        open_context()
        stream, graph, exec = (ctypes.c_void_p() for _ in range(3))
        assert cuda.cuStreamCreate(ctypes.byref(stream), 1) == 0
        def launched(mib):
            assert cuda.cuStreamBeginCapture_v2(stream, 2) == 0
            assert cuda.cuMemAllocAsync(ctypes.byref(pointer), ctypes.c_size_t(mib << 20), stream) == 0
            assert cuda.cuMemFreeAsync(pointer, stream) == 0
            assert cuda.cuStreamEndCapture(stream, ctypes.byref(graph)) == 0
            assert cuda.cuGraphInstantiateWithFlags(ctypes.byref(exec), graph, u64(0)) == 0
            return [cuda.cuGraphLaunch(exec, stream) for _ in range(2)]
        answer = [held(), launched(200), held(), allocate(400), held(), launched(600)]
        """
    assert bench.python(A, program, before=POOLED) == [0, [0, 0], 200, 0, 416, [0, 2]]


def test_mps_holds_what_runs_past_the_shim_to_the_slice_and_a_spare(bench: Bench) -> None:
    bench.start_mps()
    bench.publish(entry(A, 0, 50, memory_bytes=512 * MIB))
    past = """
        open_context()
        driver = ctypes.CDLL(__import__("os").environ["HASGPU_REAL_LIBCUDA"])
        answer = [driver.cuMemAlloc_v2(ctypes.byref(pointer), ctypes.c_size_t(300 << 20)) for _ in range(4)]
        """
    assert bench.python(A, past, before=POOLED) == [0, 0, 0, 0]
    bench.page.describe(sm_count=80, sm_step=2, pinned_spare_mib=256)
    assert bench.python(A, past, before=POOLED) == [0, 0, 2, 2]  # its context takes 128 MiB


def test_memory_goes_with_its_context(bench: Bench) -> None:
    bench.publish(entry(A, 0, 50, memory_bytes=1024 * MIB))
    program = """
        open_context()
        take = lambda: cuda.cuMemAlloc_v2(ctypes.byref(pointer), ctypes.c_size_t(600 << 20))
        own, before = ctypes.c_void_p(), take()
        assert cuda.cuDevicePrimaryCtxRelease_v2(0) == 0
        assert cuda.cuCtxCreate_v2(ctypes.byref(own), 0, 0) == 0
        answer = [before, take(), take()]
        assert cuda.cuCtxDestroy_v2(own) == 0
        open_context()
        answer += [take(), cuda.cuDevicePrimaryCtxReset_v2(0)]
        open_context()
        answer += [take(), held()]
        """
    assert bench.python(A, program, before=POOLED) == [0, 0, 2, 0, 0, 0, 600]
