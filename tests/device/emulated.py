"""The emulated driver in this process, and MPS daemons of it: the device as tests of its users see it."""

from __future__ import annotations

import atexit
import ctypes
import functools
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hasgpu.device.mps import MpsControl, environment
from hasgpu.device.nvml import Nvml

from e2e.built import make

BUILD = Path(__file__).parents[2] / "e2e" / "emulated_gpu" / "build"


@functools.cache
def emulated_driver() -> Nvml:
    """Two emulated GPUs of this process's own: the library looks once where its devices are.

    pynvml opens it by its SONAME, which is then loaded already.
    """
    make(BUILD.parent)
    state = tempfile.mkdtemp(prefix="gpus", dir="/dev/shm")
    atexit.register(shutil.rmtree, state)
    os.environ["HASGPU_EMULATED_DIR"] = state
    tool("create", "--gpus", "2")
    ctypes.CDLL(str(BUILD / "libnvidia-ml.so.1"), mode=ctypes.RTLD_GLOBAL)
    return Nvml()


def tool(*words: str) -> None:
    """The emulated GPUs' own command: what happens to a device."""
    subprocess.run([BUILD / "emulated-gpu", *words], check=True, capture_output=True)


@contextmanager
def mps_daemon(uuid: str) -> Iterator[MpsControl]:
    """An MPS daemon of one GPU, on a pipe directory of its own."""
    program = str(BUILD / "nvidia-cuda-mps-control")
    with tempfile.TemporaryDirectory() as folder:  # short: a socket's path has 108 bytes
        pipe = Path(folder) / "mps"
        for each in (pipe, Path(folder) / "log"):
            each.mkdir()
        settings = environment(pipe, os.environ) | {"CUDA_VISIBLE_DEVICES": uuid}
        daemon = subprocess.Popen([program, "-f", "-multiuser-server"], env=settings, stdin=subprocess.DEVNULL)
        wait_for(pipe / "control_privileged")
        yield MpsControl(pipe_directory=pipe, program=program)
        daemon.terminate()
        daemon.wait(5)


def wait_for(path: Path, within_s: float = 5.0) -> None:
    """Until the file is there; TimeoutError where it does not come."""
    deadline_s = time.monotonic() + within_s
    while not path.exists():
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"{path} did not come within {within_s} s")
        time.sleep(0.01)
