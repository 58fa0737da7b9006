"""A model on the GPU: its memory, its kernels, and one inference after the other on a stream of its own."""

from __future__ import annotations

import ctypes
import time

from .driver import Driver
from .table import Table

_INPUT_BYTES = 3 * 224 * 224 * 4
_OUTPUT_BYTES = 1000 * 4
_HOST_PAUSE_US = 2000.0
"""The host's time between launches is taken in pauses of this size: shorter ones would mostly be timer overshoot."""


class Network:
    """Owns a stream. Not for two threads at once."""

    def __init__(self, driver: Driver, table: Table, host_time_scale: float) -> None:
        driver.call("cuInit", 0)
        self._driver = driver
        self._context = driver.new("cuDevicePrimaryCtxRetain", 0)
        self.enter()
        module = driver.new("cuModuleLoadData", table.image)
        self._kernels = [driver.new("cuModuleGetFunction", module, name.encode()) for name in table.kernels]
        self._weights = driver.allocate(table.memory_bytes)
        self._stream = driver.new("cuStreamCreate", 1)
        self._start, self._end = driver.new("cuEventCreate", 0), driver.new("cuEventCreate", 0)
        self._host_us_per_kernel = table.host_us_per_kernel * host_time_scale
        self.sm_count = driver.sm_count()

    def enter(self) -> None:
        """Makes the context the calling thread's: each server thread has to."""
        self._driver.call("cuCtxSetCurrent", self._context)

    def infer(self, batch: int) -> float:
        """One inference; the device time in ms from the first kernel's turn to the end of the last."""
        driver, stream = self._driver, self._stream
        data = ctypes.create_string_buffer(_INPUT_BYTES)
        driver.call("cuMemcpyHtoDAsync_v2", self._weights, data, _INPUT_BYTES, stream)
        driver.call("cuEventRecord", self._start, stream)
        self._launch(batch)
        driver.call("cuEventRecord", self._end, stream)
        driver.call("cuMemcpyDtoHAsync_v2", data, self._weights, _OUTPUT_BYTES, stream)
        driver.call("cuStreamSynchronize", stream)
        return driver.elapsed_ms(self._start, self._end)

    def _launch(self, batch: int) -> None:
        size = ctypes.c_uint32(batch)
        parameters = (ctypes.c_void_p * 1)(ctypes.addressof(size))
        due_us = 0.0
        for kernel in self._kernels:
            due_us += self._host_us_per_kernel
            if due_us >= _HOST_PAUSE_US:
                time.sleep(due_us / 1e6)
                due_us = 0.0
            self._driver.call("cuLaunchKernel", kernel, 1, 1, 1, 256, 1, 1, 0, self._stream, parameters, None)
