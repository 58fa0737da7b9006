"""NVML, typed: inventory, health, compute mode, memory and MPS clients. The only file that knows pynvml."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import pynvml

from .errors import DeviceError, DriverMissing, GpuLost, Unsupported

ComputeMode = Literal["default", "exclusive-thread", "prohibited", "exclusive-process"]
_MODES: tuple[ComputeMode, ...] = ("default", "exclusive-thread", "prohibited", "exclusive-process")

# Cores of one SM by compute capability: NVML counts cores, not SMs.
_CORES_PER_SM = {(6, 0): 64, (6, 1): 128, (6, 2): 128, (7, 0): 64, (7, 2): 64, (7, 5): 64, (8, 0): 64}
_CORES_PER_SM_SINCE = 128
"""Every capability after 8.0."""
SM_STEP = 2
"""Since Volta two SMs make a TPC, the unit in which MPS hands out active threads."""
_MPS_CLIENTS, _MPS_CLIENTS_SINCE_13_1 = 48, 60

# Xids that an application causes itself; the GPU stays usable (NVIDIA, "XID Errors").
_APPLICATION_XIDS = frozenset({13, 31, 43, 45, 68, 109})


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """One GPU of this node as NVML describes it."""

    uuid: str
    index: int
    product: str
    memory_bytes: int
    sm_count: int
    sm_step: int
    mps_client_limit: int
    mig: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What NVML measures of a GPU now; None where it cannot say."""

    memory_used_bytes: int | None
    utilization_percent: int | None
    mps_processes: tuple[int, ...]
    foreign_processes: tuple[int, ...]
    """Processes that use the GPU without MPS."""


@dataclass(frozen=True, slots=True, kw_only=True)
class XidEvent:
    """A fault the driver reported."""

    uuid: str
    xid: int

    @property
    def critical(self) -> bool:
        """True where the GPU, not a program, is at fault."""
        return self.xid not in _APPLICATION_XIDS


class Nvml:
    """An open NVML library. Handles are looked up by UUID each time: a reboot reorders indices."""

    def __init__(self) -> None:
        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError as error:
            raise DriverMissing(f"NVML does not start: {error}") from None
        self._events: Any = None
        self._watched: dict[int, str] = {}

    def close(self) -> None:
        """Ends the use of NVML by this process."""
        pynvml.nvmlShutdown()

    def devices(self) -> tuple[Device, ...]:
        """All GPUs that this process may see, by index."""
        count = _ask(pynvml.nvmlDeviceGetCount)
        cuda = int(_ask(pynvml.nvmlSystemGetCudaDriverVersion))
        return tuple(self._device(index, cuda) for index in range(count))

    def usage(self, uuid: str) -> Usage:
        """Memory, utilisation and processes of a GPU."""
        handle = self._handle(uuid)
        memory = _ask_or_none(pynvml.nvmlDeviceGetMemoryInfo, handle)
        rates = _ask_or_none(pynvml.nvmlDeviceGetUtilizationRates, handle)
        mps = _pids(_ask_or_none(pynvml.nvmlDeviceGetMPSComputeRunningProcesses, handle))
        running = _pids(_ask_or_none(pynvml.nvmlDeviceGetComputeRunningProcesses, handle))
        return Usage(
            memory_used_bytes=None if memory is None else int(memory.used),
            utilization_percent=None if rates is None else int(rates.gpu),
            mps_processes=mps,
            foreign_processes=tuple(pid for pid in running if pid not in mps),
        )

    def compute_mode(self, uuid: str) -> ComputeMode:
        """Who may open the GPU."""
        return _MODES[int(_ask(pynvml.nvmlDeviceGetComputeMode, self._handle(uuid)))]

    def set_compute_mode(self, uuid: str, mode: ComputeMode) -> None:
        """Needs root; Unsupported where the platform forbids it."""
        _ask(pynvml.nvmlDeviceSetComputeMode, self._handle(uuid), _MODES.index(mode))

    def watch_health(self, uuids: tuple[str, ...]) -> None:
        """Starts to collect critical events of these GPUs; Unsupported where a GPU has none."""
        self._events = _ask(pynvml.nvmlEventSetCreate)
        for uuid in uuids:
            handle = self._handle(uuid)
            _ask(pynvml.nvmlDeviceRegisterEvents, handle, pynvml.nvmlEventTypeXidCriticalError, self._events)
            self._watched[_address(handle)] = uuid

    def next_event(self, timeout_ms: int) -> XidEvent | None:
        """The next fault within the time; None where there was none."""
        try:
            data = pynvml.nvmlEventSetWait_v2(self._events, timeout_ms)
        except pynvml.NVMLError_Timeout:
            return None
        except pynvml.NVMLError as error:
            raise _told(error) from None
        uuid = self._watched.get(_address(data.device))
        return None if uuid is None else XidEvent(uuid=uuid, xid=int(data.eventData))

    def _handle(self, uuid: str) -> Any:
        return _ask(pynvml.nvmlDeviceGetHandleByUUID, uuid)

    def _device(self, index: int, cuda: int) -> Device:
        handle = _ask(pynvml.nvmlDeviceGetHandleByIndex, index)
        major, minor = _ask(pynvml.nvmlDeviceGetCudaComputeCapability, handle)
        cores = int(_ask(pynvml.nvmlDeviceGetNumGpuCores, handle))
        mig = _ask_or_none(pynvml.nvmlDeviceGetMigMode, handle)
        return Device(
            uuid=_text(_ask(pynvml.nvmlDeviceGetUUID, handle)),
            index=index,
            product=product_name(_text(_ask(pynvml.nvmlDeviceGetName, handle))),
            memory_bytes=int(_ask(pynvml.nvmlDeviceGetMemoryInfo, handle).total),
            sm_count=sm_count(cores, (int(major), int(minor))),
            sm_step=SM_STEP if major >= 7 else 1,
            mps_client_limit=_MPS_CLIENTS_SINCE_13_1 if cuda >= 13010 else _MPS_CLIENTS,
            mig=mig is not None and mig[0] == 1,
        )


def sm_count(cores: int, capability: tuple[int, int]) -> int:
    """SMs of a GPU from what NVML does count; V100: 5120 cores of 64 each make 80."""
    return max(1, cores // _CORES_PER_SM.get(capability, _CORES_PER_SM_SINCE))


def product_name(name: str) -> str:
    """The product as GPU feature discovery labels it: ``Tesla V100-SXM2-16GB`` is ``Tesla-V100-SXM2-16GB``."""
    return name.strip().replace(" ", "-")


def _ask(call: Callable[..., Any], *arguments: Any) -> Any:
    """A call of NVML with its errors told in our words."""
    try:
        return call(*arguments)
    except pynvml.NVMLError as error:
        raise _told(error) from None


def _ask_or_none(call: Callable[..., Any], *arguments: Any) -> Any:
    """The same for what a driver may not know; None where it does not."""
    try:
        return _ask(call, *arguments)
    except Unsupported:
        return None


def _told(error: Any) -> DeviceError:
    if error.value in (pynvml.NVML_ERROR_GPU_IS_LOST, pynvml.NVML_ERROR_UNKNOWN):
        return GpuLost(str(error))
    unsupported = (
        pynvml.NVML_ERROR_NOT_SUPPORTED,
        pynvml.NVML_ERROR_FUNCTION_NOT_FOUND,
        pynvml.NVML_ERROR_NO_PERMISSION,
        pynvml.NVML_ERROR_NOT_FOUND,
    )
    return Unsupported(str(error)) if error.value in unsupported else DeviceError(str(error))


def _pids(processes: Any) -> tuple[int, ...]:
    return tuple(sorted(int(process.pid) for process in processes or ()))


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _address(handle: Any) -> int:
    """What a device handle points at: two handles of one device are equal in that alone."""
    return int(pynvml.cast(handle, pynvml.c_void_p).value or 0)
