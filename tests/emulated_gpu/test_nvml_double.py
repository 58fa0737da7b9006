"""NVML as NVIDIA's own Python binding sees it."""

from __future__ import annotations

import time

from tests.emulated_gpu.node import BUILD, Node, said

INVENTORY = """
import json
from pynvml import *
nvmlInit()
gpu = nvmlDeviceGetHandleByIndex(1)
uuid = nvmlDeviceGetUUID(gpu)
again = nvmlDeviceGetHandleByUUID(uuid)
try:
    mig = nvmlDeviceGetMigMode(gpu)
except NVMLError as error:
    mig = str(error)
nvmlDeviceSetComputeMode(gpu, NVML_COMPUTEMODE_EXCLUSIVE_PROCESS)
print(json.dumps({
    "driver": nvmlSystemGetDriverVersion(), "cuda": nvmlSystemGetCudaDriverVersion_v2(), "count": nvmlDeviceGetCount(),
    "uuid": uuid, "index": nvmlDeviceGetIndex(again), "minor": nvmlDeviceGetMinorNumber(gpu),
    "name": nvmlDeviceGetName(gpu), "bus": nvmlDeviceGetPciInfo(gpu).busId, "mig": mig,
    "memory": nvmlDeviceGetMemoryInfo(gpu).total,
    "memory_v2": nvmlDeviceGetMemoryInfo(gpu, version=nvmlMemory_v2).total,
    "capability": nvmlDeviceGetCudaComputeCapability(gpu), "cores": nvmlDeviceGetNumGpuCores(gpu),
    "mode": nvmlDeviceGetComputeMode(gpu), "other_mode": nvmlDeviceGetComputeMode(nvmlDeviceGetHandleByIndex(0)),
}))
"""

PROCESSES = """
import json
from pynvml import *
nvmlInit()
gpu = nvmlDeviceGetHandleByIndex(0)
print(json.dumps({
    "direct": [[p.pid, p.usedGpuMemory >> 20] for p in nvmlDeviceGetComputeRunningProcesses(gpu)],
    "mps": [[p.pid, p.usedGpuMemory >> 20] for p in nvmlDeviceGetMPSComputeRunningProcesses(gpu)],
    "used": nvmlDeviceGetMemoryInfo(gpu).used >> 20, "busy": nvmlDeviceGetUtilizationRates(gpu).gpu,
}))
"""

XIDS = """
import json, subprocess, sys
from pynvml import *
nvmlInit()
gpu = nvmlDeviceGetHandleByIndex(0)
events = nvmlEventSetCreate()
nvmlDeviceRegisterEvents(gpu, nvmlEventTypeXidCriticalError, events)
subprocess.run([sys.argv[1], "xid", "0", "79"], check=True)
event = nvmlEventSetWait_v2(events, 500)
try:
    nvmlEventSetWait_v2(events, 20)
except NVMLError as error:
    print(json.dumps({"xid": event.eventData, "uuid": nvmlDeviceGetUUID(event.device), "then": str(error)}))
"""


UTILIZATION = """
import json
from pynvml import *
nvmlInit()
gpu = nvmlDeviceGetHandleByIndex(0)
try:
    print(json.dumps([[each.pid, each.smUtil] for each in nvmlDeviceGetProcessUtilization(gpu, 0)]))
except NVMLError as error:
    print(json.dumps(str(error)))
"""


def test_the_inventory_is_complete(node: Node) -> None:
    facts = node.ask(INVENTORY)
    assert facts == {
        "driver": "550.54.14",
        "cuda": 12040,
        "count": 2,
        "uuid": (node.root / "gpus" / "1" / "uuid").read_text().strip(),
        "index": 1,
        "minor": 1,
        "name": "Tesla V100-SXM2-16GB",
        "bus": "00000000:02:00.0",
        "mig": "Not Supported",
        "memory": 16 << 30,
        "memory_v2": 16 << 30,
        "capability": [7, 0],
        "cores": 5120,
        "mode": 3,
        "other_mode": 0,
    }


def test_processes_are_listed_by_how_they_reached_the_device(node: Node) -> None:
    mps = node.daemon("mps")
    client, alone = node.start("hold", 4, **mps.client(50)), node.start("hold")
    said(client), said(alone)
    facts = node.ask(PROCESSES)
    assert facts["mps"] == [[client.pid, 1024 + 128]]
    assert facts["direct"] == [[alone.pid, 1024 + 128], [mps.process.pid, 0]]  # the MPS server is one too
    assert facts["used"] == 2 * (1024 + 128)
    assert facts["busy"]
    client.kill()
    client.wait()
    assert node.ask(PROCESSES)["used"] == 1024 + 128


def test_a_processs_own_use_is_known_without_mps_alone(node: Node) -> None:
    client = node.start("hold", 4, **node.daemon("mps").client(50))
    said(client)
    assert node.ask(UTILIZATION) == "Not Found"
    client.kill()
    client.wait()
    alone = node.start("hold", 10)
    said(alone)
    time.sleep(0.3)
    ((pid, percent),) = node.ask(UTILIZATION)
    assert pid == alone.pid
    assert 20 < percent < 60  # of the last second


def test_xids_arrive_once(node: Node) -> None:
    facts = node.ask(XIDS, str(BUILD / "emulated-gpu"))
    assert facts["xid"] == 79
    assert facts["uuid"] == (node.root / "gpus" / "0" / "uuid").read_text().strip()
    assert facts["then"] == "Timeout"
