"""NVML and MPS as the agent asks them, against the emulated driver: real pynvml, real library calls, no GPU."""

from __future__ import annotations

import ctypes
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hasgpu.device.errors import DeviceError, MpsUnreachable
from hasgpu.device.mps import MpsControl, environment
from hasgpu.device.nvml import Nvml, XidEvent, product_name, sm_count

EMULATED = Path(__file__).parents[2] / "e2e" / "emulated_gpu"


@pytest.fixture(scope="module")
def nvml(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nvml]:
    """Two emulated GPUs of their own. pynvml opens the library by its SONAME, which is then loaded already."""
    subprocess.run(["make", "-s", "-C", str(EMULATED)], check=True)
    state = tmp_path_factory.mktemp("emulated")
    os.environ["HASGPU_EMULATED_DIR"] = str(state)
    subprocess.run([EMULATED / "build" / "emulated-gpu", "create", "--gpus", "2"], check=True, capture_output=True)
    ctypes.CDLL(str(EMULATED / "build" / "libnvidia-ml.so.1"), mode=ctypes.RTLD_GLOBAL)
    opened = Nvml()
    yield opened
    opened.close()
    del os.environ["HASGPU_EMULATED_DIR"]


def test_the_inventory_names_each_gpu_once(nvml: Nvml) -> None:
    devices = nvml.devices()
    assert [device.index for device in devices] == [0, 1]
    assert len({device.uuid for device in devices}) == 2
    assert {(device.product, device.sm_count, device.sm_step) for device in devices} == {
        ("Tesla-V100-SXM2-16GB", 80, 2)
    }
    assert {(device.memory_bytes, device.mps_client_limit, device.mig) for device in devices} == {(16 << 30, 48, False)}


def test_an_idle_gpu_has_no_process(nvml: Nvml) -> None:
    usage = nvml.usage(nvml.devices()[0].uuid)
    assert (usage.memory_used_bytes, usage.mps_processes, usage.foreign_processes) == (0, (), ())


def test_the_compute_mode_of_one_gpu_changes_alone(nvml: Nvml) -> None:
    first, second = (device.uuid for device in nvml.devices())
    nvml.set_compute_mode(first, "exclusive-process")
    assert (nvml.compute_mode(first), nvml.compute_mode(second)) == ("exclusive-process", "default")
    nvml.set_compute_mode(first, "default")


def test_a_gpu_that_is_not_there_is_an_error_of_ours(nvml: Nvml) -> None:
    with pytest.raises(DeviceError):
        nvml.usage("GPU-00000000-0000-0000-0000-000000000000")


def test_a_quiet_gpu_reports_no_fault(nvml: Nvml) -> None:
    nvml.watch_health(tuple(device.uuid for device in nvml.devices()))
    assert nvml.next_event(10) is None


@pytest.mark.parametrize(
    ("cores", "capability", "sms"),
    [
        pytest.param(5120, (7, 0), 80, id="V100"),
        pytest.param(6912, (8, 0), 108, id="A100"),
        pytest.param(10752, (8, 6), 84, id="A40"),
        pytest.param(16896, (9, 0), 132, id="H100"),
    ],
)
def test_sms_follow_from_cores(cores: int, capability: tuple[int, int], sms: int) -> None:
    assert sm_count(cores, capability) == sms


def test_products_are_named_as_node_labels_name_them() -> None:
    assert product_name("Tesla V100-SXM2-16GB") == "Tesla-V100-SXM2-16GB"


@pytest.mark.parametrize(
    ("xid", "critical"), [pytest.param(31, False, id="a program's fault"), pytest.param(79, True, id="off the bus")]
)
def test_a_programs_own_fault_does_not_condemn_the_gpu(xid: int, critical: bool) -> None:
    assert XidEvent(uuid="GPU-0", xid=xid).critical is critical


@pytest.fixture
def control(nvml: Nvml, tmp_path: Path) -> Iterator[MpsControl]:
    """An MPS daemon of one GPU, on a pipe directory of its own."""
    program = str(EMULATED / "build" / "nvidia-cuda-mps-control")
    pipe = tmp_path / "mps"
    pipe.mkdir()
    (tmp_path / "log").mkdir()
    settings = environment(pipe, os.environ) | {"CUDA_VISIBLE_DEVICES": nvml.devices()[0].uuid}
    daemon = subprocess.Popen([program, "-f", "-multiuser-server"], env=settings, stdin=subprocess.DEVNULL)
    client = MpsControl(pipe_directory=pipe, program=program)
    deadline_s = time.monotonic() + 5
    while not (pipe / "control").exists() and time.monotonic() < deadline_s:
        time.sleep(0.01)
    yield client
    daemon.terminate()
    daemon.wait(5)


def test_a_started_server_is_listed_and_active_without_clients(control: MpsControl) -> None:
    control.start_server()
    (server,) = control.servers()
    assert control.server_state(server) == "ACTIVE"
    assert control.clients(server) == ()


def test_no_daemon_is_an_error_of_ours(nvml: Nvml, tmp_path: Path) -> None:
    program = str(EMULATED / "build" / "nvidia-cuda-mps-control")
    with pytest.raises(MpsUnreachable, match="get_server_list"):
        MpsControl(pipe_directory=tmp_path, program=program).servers()
