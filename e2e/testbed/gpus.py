"""The node's emulated GPUs: built from C, made at start. It may not know how they work inside."""

from __future__ import annotations

from e2e.testbed.paths import EMULATED_GPU, EMULATED_GPU_STATE
from e2e.testbed.shell import run

COUNT = 2


def build() -> None:
    run("make", "--silent", "-C", str(EMULATED_GPU))


def create(count: int = COUNT) -> bool:
    """Make the devices, unless the node has some already: processes may be using them."""
    if (EMULATED_GPU_STATE / "gpus").exists():
        return False
    # Two rows may have the same share: on the bed each client is a lane, and taking turns is left to the shim.
    run(str(EMULATED_GPU / "build" / "emulated-gpu"), "create", "--gpus", str(count), "--lanes", "client")
    return True
