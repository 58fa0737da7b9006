"""A node with emulated GPUs in a folder of its own, and the programs that run on it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from e2e.emulated_gpu.kernel_log import KernelLog

BUILD = Path(__file__).parents[2] / "e2e" / "emulated_gpu" / "build"
PROGRAM = Path(__file__).with_name("program.py")


class Node:
    """Everything it starts is ended by `close`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._running: list[subprocess.Popen[str]] = []

    def environment(self, **more: str) -> dict[str, str]:
        """Reaches no MPS daemon unless `more` says so."""
        return {
            **os.environ,
            "HASGPU_EMULATED_DIR": str(self.root),
            "LD_LIBRARY_PATH": str(BUILD),
            "CUDA_MPS_PIPE_DIRECTORY": str(self.root / "nobody"),
            **more,
        }

    def tool(self, *arguments: str) -> str:
        """The `emulated-gpu` command."""
        return subprocess.run(
            [BUILD / "emulated-gpu", *arguments], env=self.environment(), check=True, capture_output=True, text=True
        ).stdout

    def start(self, scenario: str, *numbers: int, **environment: str) -> subprocess.Popen[str]:
        """A program in the background."""
        program = subprocess.Popen(
            [sys.executable, "-S", str(PROGRAM), scenario, *map(str, numbers)],
            env=self.environment(**environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._running.append(program)
        return program

    def run(self, scenario: str, *numbers: int, stdin: str = "", **environment: str) -> list[dict[str, Any]]:
        """All that a program said."""
        out, _ = self.start(scenario, *numbers, **environment).communicate(stdin, timeout=20)
        return [json.loads(line) for line in out.splitlines()]

    def ask(self, program: str, *arguments: str) -> dict[str, Any]:
        """What a Python program with the environment's libraries prints as JSON."""
        command = [sys.executable, "-c", program, *arguments]
        out = subprocess.run(command, env=self.environment(), check=True, capture_output=True, text=True).stdout
        facts: dict[str, Any] = json.loads(out)
        return facts

    def daemon(self, name: str, *flags: str, gpu: str = "0", **environment: str) -> Mps:
        """An MPS control daemon that is ready for clients."""
        mps = Mps(self, name, gpu)
        command = [str(BUILD / "nvidia-cuda-mps-control"), "-f", *flags]
        process = subprocess.Popen(command, env={**self.environment(**environment), **mps.environment}, text=True)
        self._running.append(process)
        mps.process = process
        wait_for(lambda: (mps.pipes / "control_privileged").exists())
        return mps

    def log(self, gpu: int = 0) -> KernelLog:
        """The device's own log."""
        return KernelLog(gpu, self.root)

    def close(self) -> None:
        """Kills what still runs."""
        for process in self._running:
            process.kill()
            process.communicate()


class Mps:
    """A daemon's folders and its control commands."""

    process: subprocess.Popen[str]

    def __init__(self, node: Node, name: str, gpu: str) -> None:
        self._node = node
        self.pipes = node.root / name
        self.environment: Mapping[str, str] = {
            "CUDA_MPS_PIPE_DIRECTORY": str(self.pipes),
            "CUDA_MPS_LOG_DIRECTORY": str(node.root / f"{name}-log"),
            "CUDA_VISIBLE_DEVICES": gpu,
        }

    def ask(self, command: str) -> str:
        """What the control program prints."""
        return subprocess.run(
            [BUILD / "nvidia-cuda-mps-control"],
            env={**self._node.environment(), **self.environment},
            input=command + "\n",
            capture_output=True,
            text=True,
            check=False,
        ).stdout.strip()

    def client(self, percent: int | None = None) -> dict[str, str]:
        """The environment of a client."""
        pipes = {"CUDA_MPS_PIPE_DIRECTORY": str(self.pipes)}
        return pipes if percent is None else {**pipes, "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE": str(percent)}


def said(program: subprocess.Popen[str]) -> dict[str, Any]:
    """The next line of a program in the background."""
    assert program.stdout
    facts: dict[str, Any] = json.loads(program.stdout.readline())
    return facts


def wait_for(condition: Any, timeout_s: float = 5.0) -> None:
    """Until something outside this process has happened."""
    until = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.005)
