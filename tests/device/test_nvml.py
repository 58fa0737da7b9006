"""NVML and MPS as the agent asks them, against the emulated driver: real pynvml, real library calls, no GPU."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hasgpu.device.errors import DeviceError, MpsUnreachable
from hasgpu.device.mps import MpsControl
from hasgpu.device.nvml import Nvml, XidEvent, product_name, sm_count

from tests.device.emulated import BUILD, emulated_driver, mps_daemon


@pytest.fixture
def nvml() -> Nvml:
    return emulated_driver()


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
def control(nvml: Nvml) -> Iterator[MpsControl]:
    with mps_daemon(nvml.devices()[0].uuid) as client:
        yield client


def test_a_started_server_is_listed_and_active_without_clients(control: MpsControl) -> None:
    control.start_server()
    (server,) = control.servers()
    assert control.server_state(server) == "ACTIVE"
    assert control.clients(server) == ()


def test_no_daemon_is_an_error_of_ours(nvml: Nvml, tmp_path: Path) -> None:
    program = str(BUILD / "nvidia-cuda-mps-control")
    with pytest.raises(MpsUnreachable, match="get_server_list"):
        MpsControl(pipe_directory=tmp_path, program=program).servers()
