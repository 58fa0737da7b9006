"""A CUDA program for the tests: `python program.py SCENARIO [NUMBER...]`, one JSON line per thing it has to say.

It is a program of its own since a process has one driver: its environment decides about MPS and devices for good.
"""

from __future__ import annotations

import ctypes
import json
import sys
import time
from collections.abc import Callable

IMAGE = b"""# milliseconds on all SMs: wide 1, narrow 1 (and on a tenth of them), long 50
kernel,fixed_us,work_us,plateau_percent
wide,0,1000,100
narrow,0,100,10
long,0,50000,100
"""
LIBRARY = ctypes.CDLL("libcuda.so.1")
Handle = ctypes.c_void_p


def call(name: str, *arguments: object) -> int:
    return int(getattr(LIBRARY, name)(*arguments))


def new(name: str, *arguments: object) -> ctypes.c_void_p:
    handle = Handle()
    code = call(name, ctypes.byref(handle), *arguments)
    if code:
        say(failed=name, code=code)
        sys.exit(3)
    return handle


def say(**facts: object) -> None:
    print(json.dumps(facts), flush=True)


class Device:
    def __init__(self) -> None:
        code = call("cuInit", 0)
        if code:
            say(failed="cuInit", code=code)
            sys.exit(3)
        self.context = new("cuCtxCreate_v2", 0, 0)
        self.module = new("cuModuleLoadData", IMAGE)

    def launch(self, kernel: str, times: int = 1, batch: int = 1, stream: Handle | None = None) -> int:
        function = new("cuModuleGetFunction", self.module, kernel.encode())
        size = ctypes.c_uint32(batch)
        parameters = (ctypes.c_void_p * 1)(ctypes.addressof(size))
        code = 0
        for _ in range(times):
            code = code or call("cuLaunchKernel", function, 1, 1, 1, 1, 1, 1, 0, stream, parameters, None)
        return code

    def attribute(self, number: int) -> int:
        value = ctypes.c_int()
        call("cuDeviceGetAttribute", ctypes.byref(value), number, 0)
        return value.value

    def time_ms(self, work: Callable[[], object]) -> float:
        """Behind a long kernel, so that the host's own pauses don't show between the events."""
        start, end, value = new("cuEventCreate", 0), new("cuEventCreate", 0), ctypes.c_float()
        self.launch("long")
        call("cuEventRecord", start, None)
        work()
        call("cuEventRecord", end, None)
        call("cuEventSynchronize", end)
        call("cuEventElapsedTime", ctypes.byref(value), start, end)
        return value.value


def durations() -> None:
    """Device time of each kernel, and the SMs this process has."""
    device = Device()
    facts = {
        "wide": device.time_ms(lambda: device.launch("wide")),
        "narrow": device.time_ms(lambda: device.launch("narrow")),
        "wide of batch 4": device.time_ms(lambda: device.launch("wide", batch=4)),
    }
    facts["narrow of batch 5"] = device.time_ms(lambda: device.launch("narrow", batch=5))
    say(sms=device.attribute(16), **facts)


def run(times: int = 1) -> None:
    """Wide kernels, launched ahead, then waited for."""
    device = Device()
    begun = time.monotonic()
    code = device.launch("wide", times)
    launched_ms = (time.monotonic() - begun) * 1000
    code = code or call("cuCtxSynchronize")
    say(code=code, launched_ms=launched_ms, total_ms=(time.monotonic() - begun) * 1000)


def hold(times: int = 0) -> None:
    """Holds a context, memory and queued long kernels until it is killed; a line on stdin launches once more."""
    device = Device()
    address = ctypes.c_uint64()
    call("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(1 << 30))
    say(launched=device.launch("long", times), sms=device.attribute(16))
    for _ in sys.stdin:
        code = device.launch("wide")
        say(code=code or call("cuCtxSynchronize"))


def memory() -> None:
    """What an allocation takes, gives back and refuses."""
    Device()
    address, free, total = ctypes.c_uint64(), ctypes.c_size_t(), ctypes.c_size_t()
    call("cuMemGetInfo_v2", ctypes.byref(free), ctypes.byref(total))
    before = free_mib()
    taken = call("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(1 << 30))
    during = free_mib()
    data, back = ctypes.create_string_buffer(b"carried"), ctypes.create_string_buffer(8)
    call("cuMemcpyHtoD_v2", address, data, ctypes.c_size_t(8))
    call("cuMemcpyDtoH_v2", back, address, ctypes.c_size_t(8))
    too_much = call("cuMemAllocAsync", ctypes.byref(ctypes.c_uint64()), ctypes.c_size_t(during + 1 << 20), None)
    call("cuMemFree_v2", address)
    say(total_mib=total.value >> 20, before=before, taken=taken, during=during, too_much=too_much, after=free_mib())
    say(back=back.value.decode())


def free_mib() -> int:
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    call("cuMemGetInfo_v2", ctypes.byref(free), ctypes.byref(total))
    return free.value >> 20


def pools() -> None:
    """What stream-ordered allocation takes of the device, before and after a wait, by default and with a threshold."""
    Device()
    pool, address, most = new("cuDeviceGetMemPool", 0), ctypes.c_uint64(), ctypes.c_uint64(1 << 40)
    before, seen = free_mib(), []

    def once() -> None:
        call("cuMemAllocAsync", ctypes.byref(address), ctypes.c_size_t(100 << 20), None)
        seen.append(before - free_mib())
        call("cuMemFreeAsync", address, None)
        seen.append(before - free_mib())
        call("cuStreamSynchronize", None)
        seen.append(before - free_mib())

    once()
    call("cuMemPoolSetAttribute", pool, 4, ctypes.byref(most))
    once()
    reserved, used = ctypes.c_uint64(), ctypes.c_uint64()
    call("cuMemPoolGetAttribute", pool, 5, ctypes.byref(reserved))
    call("cuMemPoolGetAttribute", pool, 7, ctypes.byref(used))
    call("cuMemPoolTrimTo", pool, ctypes.c_size_t(0))
    say(taken=seen, reserved=reserved.value >> 20, used=used.value, trimmed=before - free_mib())


def graph_memory() -> None:
    """A captured allocation takes memory when its graph runs, keeps it, and gives it back when trimmed."""
    device = Device()
    stream, address, made = new("cuStreamCreate", 1), ctypes.c_uint64(), Handle()
    before = free_mib()
    call("cuStreamBeginCapture_v2", stream, 2)
    call("cuMemAllocAsync", ctypes.byref(address), ctypes.c_size_t(64 << 20), stream)
    device.launch("wide", stream=stream)
    call("cuMemFreeAsync", address, stream)
    call("cuStreamEndCapture", stream, ctypes.byref(made))
    executable = new("cuGraphInstantiateWithFlags", made, ctypes.c_uint64(0))
    seen = [before - free_mib()]
    for _ in range(2):
        call("cuGraphLaunch", executable, stream)
        seen.append(before - free_mib())
    reserved = ctypes.c_uint64()
    call("cuDeviceGetGraphMemAttribute", 0, 2, ctypes.byref(reserved))
    call("cuDeviceGraphMemTrim", 0)
    say(taken=seen, reserved=reserved.value >> 20, trimmed=before - free_mib())


class Resource(ctypes.Structure):
    """CUdevResource of SMs."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("pad", ctypes.c_ubyte * 92),
        ("sms", ctypes.c_uint),
        ("rest", ctypes.c_ubyte * 44),
    )


def green() -> None:
    """A kernel on a stream of a green context has its SMs; an event of another context can't be recorded there."""
    device = Device()
    whole, part, groups = Resource(), Resource(), ctypes.c_uint(1)
    call("cuDeviceGetDevResource", 0, ctypes.byref(whole), 1)
    call("cuDevSmResourceSplitByCount", ctypes.byref(part), ctypes.byref(groups), ctypes.byref(whole), None, 0, 19)
    description = new("cuDevResourceGenerateDesc", ctypes.byref(part), 1)
    context = new("cuGreenCtxCreate", description, 0, 1)
    stream = new("cuGreenCtxStreamCreate", context, 1, 0)
    begun = time.monotonic()
    codes = [device.launch("long", stream=stream), call("cuEventRecord", new("cuEventCreate", 0), stream)]
    call("cuStreamSynchronize", stream)
    took_ms = (time.monotonic() - begun) * 1000
    say(whole=whole.sms, part=part.sms, codes=codes, took_ms=took_ms, destroyed=call("cuGreenCtxDestroy", context))


def growing() -> None:
    """Memory as growing allocators take it: a range of addresses, physical memory mapped into it, and both undone."""
    device = Device()
    size = 4 << 20
    address, handle, back = ctypes.c_uint64(), ctypes.c_uint64(), ctypes.create_string_buffer(8)
    none = ctypes.c_uint64(0)
    codes = [
        call("cuMemAddressReserve", ctypes.byref(address), ctypes.c_size_t(size), none, none, none),
        call("cuMemCreate", ctypes.byref(handle), ctypes.c_size_t(size), None, none),
        call("cuMemMap", address, ctypes.c_size_t(size), none, handle, none),
        call("cuMemSetAccess", address, ctypes.c_size_t(size), None, ctypes.c_size_t(0)),
        call("cuMemcpyHtoD_v2", address, ctypes.create_string_buffer(b"mapped"), ctypes.c_size_t(7)),
        call("cuMemcpyDtoH_v2", back, address, ctypes.c_size_t(7)),
    ]
    during = free_mib()
    codes += [call("cuMemUnmap", address, ctypes.c_size_t(size)), call("cuMemRelease", handle)]
    refused = call("cuMemcpyDtoH_v2", back, address, ctypes.c_size_t(7))
    codes += [call("cuMemAddressFree", address, ctypes.c_size_t(size)), call("cuCtxDestroy_v2", device.context)]
    say(codes=codes, back=back.value.decode(), during=during, refused=refused)


def resolve() -> None:
    """Which exported symbol each (name, version, flags) of stdin means, and the status."""
    exported = {}
    wanted = [json.loads(line) for line in sys.stdin]
    for _, _, _, symbol in wanted:
        if symbol:
            exported[ctypes.cast(getattr(LIBRARY, symbol), Handle).value] = symbol
    for name, version, flags, _ in wanted:
        pointer, status = Handle(), ctypes.c_int(-1)
        code = call(
            "cuGetProcAddress_v2",
            name.encode(),
            ctypes.byref(pointer),
            version,
            ctypes.c_uint64(flags),
            ctypes.byref(status),
        )
        say(symbol=exported.get(pointer.value), code=code, status=status.value)


def graph() -> None:
    """A captured graph takes no time while it is captured, and its kernels' time at each launch."""
    device = Device()
    stream = new("cuStreamCreate", 1)
    call("cuStreamBeginCapture_v2", stream, 0)
    launches = [device.launch("wide", 3, stream=stream), call("cuStreamSynchronize", stream)]
    broken = Handle()
    invalid = call("cuStreamEndCapture", stream, ctypes.byref(broken))
    call("cuStreamBeginCapture_v2", stream, 0)
    unsafe = call("cuMemAlloc_v2", ctypes.byref(ctypes.c_uint64()), ctypes.c_size_t(1 << 20))
    call("cuStreamEndCapture", stream, ctypes.byref(broken))
    call("cuStreamBeginCapture_v2", stream, 2)
    device.launch("wide", 3, stream=stream)
    made = Handle()
    call("cuStreamEndCapture", stream, ctypes.byref(made))
    executable = new("cuGraphInstantiateWithFlags", made, ctypes.c_uint64(0))
    launched_ms = device.time_ms(lambda: [call("cuGraphLaunch", executable, None) for _ in range(2)])
    say(launches=launches, invalid=invalid, unsafe=unsafe, launched_ms=launched_ms)


if __name__ == "__main__":
    globals()[sys.argv[1]](*(int(text) for text in sys.argv[2:]))
