"""The control client of one GPU's MPS daemon (nvidia-cuda-mps-control, v2 replies). Starts no daemon."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .errors import MpsUnreachable

# Where the container runtime puts the driver's programs: beside the system's, or in a folder of their own.
_PROGRAM_FOLDERS = f"/usr/bin{os.pathsep}/usr/local/nvidia/bin"
ServerState = Literal["INITIALIZING", "ACTIVE", "FAULT", "SHUTTING_DOWN", "UNKNOWN"]
_STATES: tuple[ServerState, ...] = ("INITIALIZING", "ACTIVE", "FAULT", "SHUTTING_DOWN")


@dataclass(frozen=True, slots=True, kw_only=True)
class MpsControl:
    """Sends one command a call, as an administrator would: the program reads it from stdin and answers on stdout."""

    pipe_directory: Path
    program: str
    timeout_s: float = 5.0

    def start_server(self, uid: int = 0) -> None:
        """Starts the server before the first client does, so that a client never waits for it."""
        self.ask(f"start_server -uid {uid}")

    def servers(self) -> tuple[int, ...]:
        """Process ids of the running servers."""
        return _numbers(self.ask("get_server_list"))

    def server_state(self, server: int) -> ServerState:
        """FAULT: a client took the server down; new clients are refused until all have left."""
        answer = self.ask(f"get_server_status {server}").strip().upper()
        return next((state for state in _STATES if state in answer), "UNKNOWN")

    def clients(self, server: int) -> tuple[int, ...]:
        """Process ids of a server's clients."""
        return _numbers(self.ask(f"get_client_list {server}"))

    def quit(self, within_s: int = 2) -> None:
        """Ends the daemon, and its clients with it once the time is over; whoever keeps it starts it again."""
        self.ask(f"quit -t {within_s}")

    def ask(self, command: str) -> str:
        """The daemon's answer to one command; MpsUnreachable where no daemon listens."""
        try:
            done = subprocess.run(
                [self.program],
                input=command + "\n",
                env=environment(self.pipe_directory, os.environ),
                capture_output=True,
                text=True,
                timeout=self.timeout_s,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise MpsUnreachable(f"{command!r} on {self.pipe_directory}: {error}") from None
        if done.returncode != 0:
            said = (done.stderr or done.stdout).strip()
            raise MpsUnreachable(f"{command!r} on {self.pipe_directory}: {said or f'exit {done.returncode}'}")
        return done.stdout


def control_program(folders: str = "") -> str:
    """nvidia-cuda-mps-control as the container runtime mounted it; MpsUnreachable where it did not."""
    found = shutil.which("nvidia-cuda-mps-control", path=folders or _PROGRAM_FOLDERS)
    if found is None:
        raise MpsUnreachable(f"no nvidia-cuda-mps-control in {folders or _PROGRAM_FOLDERS}")
    return found


def environment(pipe_directory: Path, inherited: Mapping[str, str]) -> dict[str, str]:
    """The environment that makes a control program or daemon use this GPU's folders."""
    return {
        **inherited,
        "CUDA_MPS_PIPE_DIRECTORY": str(pipe_directory),
        "CUDA_MPS_LOG_DIRECTORY": str(pipe_directory.parent / "log"),
    }


def _numbers(answer: str) -> tuple[int, ...]:
    return tuple(int(word) for word in answer.split() if word.isdigit())
