"""The CUDA driver API by ctypes: just what an inference calls."""

from __future__ import annotations

import ctypes

DRIVER = "libcuda.so.1"
MOUNTED_DRIVER = "/usr/local/nvidia/lib64/libcuda.so.1"
"""Where the container runtime puts it, for images whose loader does not look there."""

Handle = ctypes.c_void_p


class CudaError(RuntimeError):
    """A call that did not return CUDA_SUCCESS."""

    def __init__(self, call: str, code: int, name: str) -> None:
        super().__init__(f"{call}: {name} ({code})")
        self.code = code


class Driver:
    """The loaded library; every call raises CudaError instead of returning a code."""

    def __init__(self) -> None:
        try:
            self._library = ctypes.CDLL(DRIVER)
        except OSError:
            self._library = ctypes.CDLL(MOUNTED_DRIVER)
        # Pointers and sizes are 64 bits wide; ctypes would pass a plain int as 32.
        self._library.cuMemAlloc_v2.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
        self._library.cuMemcpyHtoDAsync_v2.argtypes = [ctypes.c_uint64, ctypes.c_void_p, ctypes.c_size_t, Handle]
        self._library.cuMemcpyDtoHAsync_v2.argtypes = [ctypes.c_void_p, ctypes.c_uint64, ctypes.c_size_t, Handle]
        self._library.cuLaunchKernel.argtypes = [Handle, *[ctypes.c_uint] * 7, Handle, ctypes.c_void_p, ctypes.c_void_p]

    def call(self, name: str, *arguments: object) -> None:
        """One driver call."""
        code = getattr(self._library, name)(*arguments)
        if code:
            raise CudaError(name, code, self._error_name(code))

    def _error_name(self, code: int) -> str:
        text = ctypes.c_char_p()
        self._library.cuGetErrorName(code, ctypes.byref(text))
        return (text.value or b"unknown error").decode()

    def new(self, name: str, *arguments: object) -> Handle:
        """A call whose first argument receives a handle."""
        handle = Handle()
        self.call(name, ctypes.byref(handle), *arguments)
        return handle

    def allocate(self, size_bytes: int) -> int:
        """The address of new device memory."""
        address = ctypes.c_uint64()
        self.call("cuMemAlloc_v2", ctypes.byref(address), size_bytes)
        return address.value

    def elapsed_ms(self, start: Handle, end: Handle) -> float:
        """Device time between two events."""
        value = ctypes.c_float()
        self.call("cuEventElapsedTime", ctypes.byref(value), start, end)
        return value.value

    def sm_count(self) -> int:
        """SMs that this process can use: under MPS, its partition's."""
        value = ctypes.c_int()
        self.call("cuDeviceGetAttribute", ctypes.byref(value), 16, 0)
        return value.value
