"""A fatal fault of the GPU under two pods: how soon both launch again, with the released node agent to end them.

One pod's program leaves at the first error, the other's never does and is idle besides, as a server without requests:
as long as it lives, the MPS server takes nobody in. Whoever ends is started again at once, as a kubelet does at first.
"""

from __future__ import annotations

import os
import subprocess
import time

from .bench import DOUBLE
from .figure import Figure
from .node import Node

LEAVES = "00000000-0000-4000-8000-00000000000a"
STAYS = "00000000-0000-4000-8000-00000000000b"
IDLE = """
import time
open_context()
module, function = ctypes.c_void_p(), ctypes.c_void_p()
assert cuda.cuModuleLoadData(ctypes.byref(module), b"kernel,fixed_us,work_us,plateau_percent\\nk,100,0,100\\n") == 0
assert cuda.cuModuleGetFunction(ctypes.byref(function), module, b"k") == 0
assert cuda.cuLaunchKernel(function, 1, 1, 1, 1, 1, 1, 0, None, None, None) == 0
while True:
    time.sleep(1)
"""


def measure() -> list[Figure]:
    """From the fault to the last pod's next launch."""
    node = Node()
    try:
        for uid, quota in ((LEAVES, 40), (STAYS, 40)):
            node.place(uid, 0, quota)
        pods = {uid: _Container(node, uid) for uid in (LEAVES, STAYS)}
        node.start_agent()
        node.wait_for(node.schedule_page.exists, within_s=20)
        _start_mps(node)
        _until(pods, lambda: all(node.report(uid).launches for uid in pods), 20)
        first = pods[STAYS].process
        launched = {uid: node.report(uid).launches for uid in pods}
        subprocess.run([DOUBLE / "emulated-gpu", "fault", "0"], check=True, env=node.environment)
        fault_s = time.monotonic()
        time.sleep(0.5)  # the kernels of before have ended
        launched[LEAVES] = node.report(LEAVES).launches
        _until(pods, lambda: all(node.report(uid).launches > launched[uid] for uid in pods), 60)
        took_s = time.monotonic() - fault_s
        ended = first is not None and first.poll() == -9
    finally:
        node.close()
    beside = "10 s of grace; " + ("the idle program was ended" if ended else "the idle program left by itself")
    return [Figure(name="GPU fault: all its pods launch again after", value=took_s, unit="s", goal=20, beside=beside)]


class _Container:
    """A pod's program, started whenever it does not run."""

    def __init__(self, node: Node, uid: str) -> None:
        self._node, self._uid = node, uid
        self.process: subprocess.Popen[str] | None = None

    def keep(self) -> None:
        if self.process is not None and self.process.poll() is None:
            return
        told = {"HASGPU_SCHEDULE_FILE": str(self._node.schedule_page), "CUDA_MPS_PIPE_DIRECTORY": _pipes(self._node)}
        if self._uid == LEAVES:
            self.process = self._node.start(self._uid, self._node.client, "async", 500, 600, **told)
        else:
            self.process = self._node.start_python(self._uid, IDLE + "\nanswer = 0", **told)


def _pipes(node: Node) -> str:
    return str(node.schedule_page.parents[1] / "mps")


def _start_mps(node: Node) -> None:
    told = node.environment | {"CUDA_MPS_PIPE_DIRECTORY": _pipes(node), "CUDA_MPS_LOG_DIRECTORY": str(node.folder)}
    node.children.append(subprocess.Popen([DOUBLE / "nvidia-cuda-mps-control", "-f"], env=told, text=True))
    node.wait_for(lambda: os.path.exists(f"{_pipes(node)}/control_privileged"))


def _until(pods: dict[str, _Container], condition, within_s: float) -> None:  # type: ignore[no-untyped-def]
    deadline_s = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline_s, "waited in vain"
        for pod in pods.values():
            pod.keep()
        time.sleep(0.1)
