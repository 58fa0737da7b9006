"""A GPU's conditions, as the emulated driver and its MPS daemon make them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hasgpu.cluster.custom import HEALTHY, MPS_READY
from hasgpu.device.mps import MpsControl
from hasgpu.device.nvml import Nvml
from hasgpu.nodeagent.health import ONLY_MPS, Health

from tests.device.emulated import BUILD, emulated_driver, mps_daemon, tool

FOREIGNER = """
import ctypes, time
cuda, context = ctypes.CDLL("libcuda.so.1"), ctypes.c_void_p()
assert cuda.cuInit(0) == 0
assert cuda.cuCtxCreate_v2(ctypes.byref(context), 0, 0) == 0
print(flush=True)
time.sleep(30)
"""


def driver_environment() -> dict[str, str]:
    """Of a process that reaches the driver and no MPS daemon."""
    return {**os.environ, "LD_LIBRARY_PATH": str(BUILD), "CUDA_MPS_PIPE_DIRECTORY": "/nobody"}


@pytest.fixture
def nvml() -> Nvml:
    return emulated_driver()


@pytest.fixture
def control(nvml: Nvml) -> Iterator[MpsControl]:
    with mps_daemon(nvml.devices()[0].uuid) as client:
        yield client


def health(nvml: Nvml, control: MpsControl) -> Health:
    """With a daemon for the first GPU and none for the second."""
    first, second = nvml.devices()
    nobody = MpsControl(pipe_directory=Path("/nobody"), program=str(BUILD / "nvidia-cuda-mps-control"))
    return Health(nvml, (first, second), {first.uuid: control, second.uuid: nobody})


def test_a_gpu_with_a_daemon_is_fit_and_its_server_runs_before_the_first_client(
    nvml: Nvml, control: MpsControl
) -> None:
    findings, usage = health(nvml, control).check(nvml.devices()[0])
    assert (findings[HEALTHY].holds, findings[MPS_READY].holds) == (True, True)
    assert len(control.servers()) == 1
    assert usage is not None


def test_a_gpu_without_a_daemon_is_healthy_but_not_ready(nvml: Nvml, control: MpsControl) -> None:
    findings, _ = health(nvml, control).check(nvml.devices()[1])
    assert findings[HEALTHY].holds
    assert (findings[MPS_READY].holds, findings[MPS_READY].reason) == (False, "DaemonUnreachable")


def test_who_uses_the_gpu_past_mps_is_named_and_the_server_is_not(nvml: Nvml, control: MpsControl) -> None:
    watching, device = health(nvml, control), nvml.devices()[0]
    findings, usage = watching.check(device)
    assert usage is not None
    assert (findings[ONLY_MPS].holds, usage.foreign_processes) == (True, ())
    with subprocess.Popen([sys.executable, "-c", FOREIGNER], env=driver_environment(), stdout=subprocess.PIPE) as child:
        assert child.stdout
        child.stdout.readline()
        findings, usage = watching.check(device)
        child.kill()
    assert usage is not None
    assert (findings[ONLY_MPS].reason, usage.foreign_processes) == ("ForeignProcesses", (child.pid,))
    assert findings[MPS_READY].holds


def test_of_a_gpu_whose_server_is_unknown_no_process_is_called_foreign(nvml: Nvml, control: MpsControl) -> None:
    assert ONLY_MPS not in health(nvml, control).check(nvml.devices()[1])[0]


@pytest.mark.parametrize(
    ("xid", "holds"),
    [
        pytest.param("79", False, id="a GPU off the bus is not healthy"),
        pytest.param("31", True, id="a program's own fault leaves the GPU healthy"),
    ],
)
def test_a_fault_of_the_gpu_is_told(nvml: Nvml, control: MpsControl, xid: str, holds: bool) -> None:
    watching, device = health(nvml, control), nvml.devices()[0]
    watching.start()
    tool("xid", "0", xid)
    deadline_s = time.monotonic() + 5
    while not watching.xids() and time.monotonic() < deadline_s:
        time.sleep(0.01)
    watching.stop()
    assert watching.xids() == {(device.uuid, int(xid)): 1}
    assert watching.check(device)[0][HEALTHY].holds is holds
