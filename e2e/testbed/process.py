"""One long-running program of the bed: started detached, found again by its pid file, marked in its environment.

It may not know which programs there are.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from e2e.testbed.paths import BED, LOGS, PIDS

MARK = "HASGPU_TESTBED_PROCESS"
"""Inherited by every child: so a process is known as the bed's even when its pid file was never written."""


def start(name: str, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
    """Start a program unless it runs already."""
    if running(name):
        return
    PIDS.mkdir(parents=True, exist_ok=True)
    LOGS.mkdir(parents=True, exist_ok=True)
    with (LOGS / f"{name}.log").open("ab") as log:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env={**os.environ, **(environment or {}), MARK: str(BED)},
        )
    (PIDS / name).write_text(str(child.pid))


def pid(name: str) -> int | None:
    """The program's process id, if it is alive and really ours (ids are used again after a reboot)."""
    try:
        number = int((PIDS / name).read_text())
    except (OSError, ValueError):
        return None
    return number if _is_marked(number) else None


def running(name: str) -> bool:
    return pid(name) is not None


def stop(name: str, within_s: float = 10.0) -> None:
    """Ask a program to end, then insist."""
    number = pid(name)
    if number is not None:
        os.kill(number, signal.SIGTERM)
        deadline = time.monotonic() + within_s
        while _is_alive(number) and time.monotonic() < deadline:
            time.sleep(0.02)
        kill([number])
    (PIDS / name).unlink(missing_ok=True)


def marked() -> list[int]:
    """All processes of any bed on this machine but this one and its ancestors."""
    own = set(_ancestors(os.getpid()))
    return [number for number in _all() if number not in own and _is_marked(number)]


def owners() -> set[str]:
    """Checkouts whose beds have a process on this machine."""
    found = set()
    for number in marked():
        try:
            environment = Path(f"/proc/{number}/environ").read_bytes().split(b"\0")
        except OSError:
            continue
        found |= {entry.decode().partition("=")[2] for entry in environment if entry.startswith(MARK.encode())}
    return found


def inside_cgroups(name: str) -> list[int]:
    """Processes in a cgroup folder of this name, in any hierarchy."""
    members: set[int] = set()
    for number in _all():
        try:
            lines = Path(f"/proc/{number}/cgroup").read_text().splitlines()
        except OSError:
            continue
        if any(line.split(":", 2)[2].split("/")[1:2] == [name] for line in lines) and _is_alive(number):
            members.add(number)
    return sorted(members)


def kill(numbers: Sequence[int], within_s: float = 5.0) -> None:
    """SIGKILL, then wait until they are gone."""
    for number in numbers:
        try:
            os.kill(number, signal.SIGKILL)
        except ProcessLookupError:
            continue
    deadline = time.monotonic() + within_s
    while any(_is_alive(number) for number in numbers) and time.monotonic() < deadline:
        time.sleep(0.02)


def _all() -> Iterator[int]:
    return (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())


def _is_alive(number: int) -> bool:
    """A zombie is dead: it holds nothing but its exit status, which its parent has not read yet."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _is_marked(number: int) -> bool:
    try:
        return f"{MARK}=".encode() in Path(f"/proc/{number}/environ").read_bytes() and _is_alive(number)
    except OSError:
        return False


def _ancestors(number: int) -> Iterator[int]:
    while number > 0:
        yield number
        try:
            number = int(Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            return
