"""The fake activator and queue-proxies: a Go program of its own, so that the load costs little of the machine."""

from __future__ import annotations

import subprocess
import threading
from pathlib import Path

from e2e.testbed.paths import BIN
from e2e.testbed.toolchain import find_go

PROGRAM = BIN / "bench-fakes"


def build() -> None:
    """Compiles it; Go's cache makes a second call quick."""
    find_go().call(Path(__file__).with_name("fakes"), "build", "-o", str(PROGRAM), ".")


class Fakes:
    """One running program."""

    def __init__(
        self, count: int, per_namespace: int, *, push_to: str, concurrency: float = 5.0, latency_s: float = 0.0
    ) -> None:
        """``latency_s``: requests come by chance and take so long; 0: an even load, two requests for each in flight."""
        command = [str(PROGRAM), f"-n={count}", f"-per-namespace={per_namespace}"]
        command += [f"-load={concurrency}", f"-latency={latency_s}"]
        self._program = subprocess.Popen(
            [*command, *([f"-push={push_to}"] if push_to else [])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            bufsize=1,
        )
        self._changed = threading.Condition()
        self._told_at: dict[int, float] = {}
        self._counts: list[dict[str, int]] = []
        threading.Thread(target=self._read, daemon=True).start()

    @property
    def pid(self) -> int:
        """For what the load itself costs."""
        return self._program.pid

    def stop(self) -> None:
        """Ends."""
        self._program.kill()
        self._program.wait()

    def change(self, index: int, concurrency: float) -> None:
        """A revision's load from now on."""
        with self._changed:
            self._told_at.pop(index, None)
        self._say(f"{index} {concurrency}")

    def told_at(self, index: int, timeout_s: float = 10.0) -> float:
        """When the changed load was first told, as Unix seconds."""
        with self._changed:
            self._changed.wait_for(lambda: index in self._told_at, timeout_s)
            return self._told_at.get(index, float("inf"))

    def counts(self) -> dict[str, int]:
        """Frames sent, scrapes answered, connections accepted so far."""
        with self._changed:
            before = len(self._counts)
            self._say("?")
            self._changed.wait_for(lambda: len(self._counts) > before, 10)
            return self._counts[-1]

    def _say(self, line: str) -> None:
        assert self._program.stdin
        self._program.stdin.write(line + "\n")
        self._program.stdin.flush()

    def _read(self) -> None:
        assert self._program.stdout
        for line in self._program.stdout:
            words = line.split()
            with self._changed:
                if words[0].isdigit():
                    self._told_at[int(words[0])] = float(words[1])
                else:
                    self._counts.append({words[i]: int(words[i + 1]) for i in range(0, len(words), 2)})
                self._changed.notify_all()
