"""A CUDA program by ctypes and the driver API alone: python client.py TASK [ARGUMENT...]; prints one JSON line.

It imports nothing of ours, so that it runs copied to anywhere, under any user, with the shim before it or without.
"""

from __future__ import annotations

import ctypes
import json
import sys
import time
from collections.abc import Callable

PTX = b"""
.version 6.0
.target sm_50
.address_size 64
.visible .entry spin(.param .u64 length)
{
    .reg .u64 %r<5>;
    .reg .pred %p;
    ld.param.u64 %r1, [length];
    mov.u64 %r2, %globaltimer;
again:
    mov.u64 %r3, %globaltimer;
    sub.u64 %r4, %r3, %r2;
    setp.lt.u64 %p, %r4, %r1;
    @%p bra again;
    ret;
}
"""
"""One thread that takes so many nanoseconds."""
MULTIPROCESSOR_COUNT = 16
EVENTS_TIMED = 2000


class Cuda:
    """A context on the first GPU, a stream, and the kernel."""

    def __init__(self, kernel_us: int) -> None:
        self.library = ctypes.CDLL("libcuda.so.1")
        self.context, self.module, self.spin, self.stream = (ctypes.c_void_p() for _ in range(4))
        self.length = ctypes.c_uint64(kernel_us * 1000)
        self.arguments = (ctypes.c_void_p * 1)(ctypes.addressof(self.length))
        self("cuInit", 0)
        self("cuDevicePrimaryCtxRetain", ctypes.byref(self.context), 0)
        self("cuCtxSetCurrent", self.context)
        # The emulated driver takes a table for a kernel image.
        table = f"kernel,fixed_us,work_us,plateau_percent\nspin,{kernel_us},0,100\n".encode()
        if self.library.cuModuleLoadData(ctypes.byref(self.module), PTX):
            self("cuModuleLoadData", ctypes.byref(self.module), table)
        self("cuModuleGetFunction", ctypes.byref(self.spin), self.module, b"spin")
        self("cuStreamCreate", ctypes.byref(self.stream), 1)

    def __call__(self, name: str, *arguments: object) -> None:
        if error := getattr(self.library, name)(*arguments):
            print(json.dumps({"error": error, "at": name}))
            sys.exit(1)

    def launch(self) -> None:
        self("cuLaunchKernel", self.spin, 1, 1, 1, 1, 1, 1, 0, self.stream, self.arguments, None)

    def wait(self) -> None:
        self("cuStreamSynchronize", self.stream)


def facts(cuda: Cuda) -> dict[str, object]:
    """What the context says of its GPU."""
    count, version, free, total = ctypes.c_int(), ctypes.c_int(), ctypes.c_size_t(), ctypes.c_size_t()
    name = ctypes.create_string_buffer(128)
    cuda("cuDeviceGetAttribute", ctypes.byref(count), MULTIPROCESSOR_COUNT, 0)
    cuda("cuDriverGetVersion", ctypes.byref(version))
    cuda("cuDeviceGetName", name, 128, 0)
    cuda("cuMemGetInfo_v2", ctypes.byref(free), ctypes.byref(total))
    return {"name": name.value.decode(), "sms": count.value, "cuda": version.value, "total_bytes": total.value}


def events(cuda: Cuda) -> dict[str, object]:
    """What one timing event costs the host, and how long the kernel takes by two of them."""
    start, end, elapsed_ms = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_float()
    cuda("cuEventCreate", ctypes.byref(start), 1)
    cuda("cuEventCreate", ctypes.byref(end), 1)
    began_ns = time.perf_counter_ns()
    for _ in range(EVENTS_TIMED):
        cuda("cuEventRecord", start, cuda.stream)
    record_ns = (time.perf_counter_ns() - began_ns) / EVENTS_TIMED
    cuda.wait()
    cuda("cuEventRecord", start, cuda.stream)
    for _ in range(100):
        cuda.launch()
    cuda("cuEventRecord", end, cuda.stream)
    cuda.wait()
    cuda("cuEventElapsedTime", ctypes.byref(elapsed_ms), start, end)
    return {"record_ns": record_ns, "kernel_us": elapsed_ms.value * 10}


def run(cuda: Cuda, mode: str, seconds: float) -> dict[str, object]:
    """Launches for so long, then waits; what was done in which time."""
    step: Callable[[], None] = cuda.launch
    per_step = 1
    if mode == "graph":
        graph, executable = ctypes.c_void_p(), ctypes.c_void_p()
        cuda("cuStreamBeginCapture_v2", cuda.stream, 0)
        for _ in range(10):
            cuda.launch()
        cuda("cuStreamEndCapture", cuda.stream, ctypes.byref(graph))
        cuda("cuGraphInstantiateWithFlags", ctypes.byref(executable), graph, ctypes.c_uint64(0))
        per_step = 10
        step = lambda: cuda("cuGraphLaunch", executable, cuda.stream)  # noqa: E731
    count, start_s = 0, time.monotonic()
    while time.monotonic() - start_s < seconds:
        step()
        count += per_step
        if mode == "sync":
            cuda.wait()
    cuda.wait()
    return {"kernels": count, "seconds": time.monotonic() - start_s}


def allocate(cuda: Cuda, size: int) -> dict[str, object]:
    """The driver's answer to one allocation."""
    return {"result": cuda.library.cuMemAlloc_v2(ctypes.byref(ctypes.c_uint64()), ctypes.c_size_t(size))}


def pool(cuda: Cuda, size: int) -> dict[str, object]:
    """An allocation in stream order: the answer, and what the process then seems to hold, before and after a wait."""
    address, free, total = ctypes.c_uint64(), ctypes.c_size_t(), ctypes.c_size_t()
    result = cuda.library.cuMemAllocAsync(ctypes.byref(address), ctypes.c_size_t(size), cuda.stream)
    held = []
    for step in (lambda: None, lambda: cuda("cuMemFreeAsync", address, cuda.stream), cuda.wait):
        if not result:
            step()
        cuda("cuMemGetInfo_v2", ctypes.byref(free), ctypes.byref(total))
        held.append(total.value - free.value)
    return {"result": result, "held_bytes": held}


def graph_memory(cuda: Cuda, size: int) -> dict[str, object]:
    """A graph that allocates so much, launched twice: the answers."""
    address, graph, executable = ctypes.c_uint64(), ctypes.c_void_p(), ctypes.c_void_p()
    cuda("cuStreamBeginCapture_v2", cuda.stream, 2)
    cuda("cuMemAllocAsync", ctypes.byref(address), ctypes.c_size_t(size), cuda.stream)
    cuda.launch()
    cuda("cuMemFreeAsync", address, cuda.stream)
    cuda("cuStreamEndCapture", cuda.stream, ctypes.byref(graph))
    cuda("cuGraphInstantiateWithFlags", ctypes.byref(executable), graph, ctypes.c_uint64(0))
    results = []
    for _ in range(2):
        results.append(cuda.library.cuGraphLaunch(executable, cuda.stream))
        cuda.wait()
    return {"results": results}


def hold(cuda: Cuda) -> dict[str, object]:
    """A context with its kernel loaded, until the line is closed."""
    cuda.launch()
    cuda.wait()
    print(json.dumps({"ready": True}), flush=True)
    sys.stdin.read()
    return {}


def main(arguments: list[str]) -> None:
    """TASK KERNEL_US ARGUMENT..."""
    task, cuda = arguments[0], Cuda(int(arguments[1]))
    if task == "facts":
        answer = facts(cuda)
    elif task == "events":
        answer = events(cuda)
    elif task == "hold":
        answer = hold(cuda)
    elif task in ("allocate", "pool", "graph_memory"):
        tasks: dict[str, Callable[[Cuda, int], dict[str, object]]]
        tasks = {"allocate": allocate, "pool": pool, "graph_memory": graph_memory}
        answer = tasks[task](cuda, int(arguments[2]))
    else:
        answer = run(cuda, task, float(arguments[2])) | facts(cuda)
    print(json.dumps(answer))


if __name__ == "__main__":
    main(sys.argv[1:])
