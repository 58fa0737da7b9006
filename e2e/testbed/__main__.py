"""The bed's command line. It may not do work of its own."""

from __future__ import annotations

import argparse
import fcntl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from e2e.testbed import bed, constraints, gpus, selftest
from e2e.testbed.kubectl import kubectl
from e2e.testbed.paths import BED, LOGS
from e2e.testbed.shell import CommandError


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m e2e.testbed", description=bed.__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("build", help="packages, Go programs and system images; cached")
    up = verbs.add_parser("up", help="start what is missing, until a Knative service can be made")
    up.add_argument("--gpus", type=int, default=gpus.COUNT, help="emulated GPUs of a new bed (%(default)s)")
    verbs.add_parser("down", help="remove every process, mount, device and cgroup of the bed")
    verbs.add_parser("status", help="programs, nodes and pods; exit 0 when all programs run")
    logs = verbs.add_parser("logs", help="the last lines of each program's log, or of one program or pod")
    logs.add_argument("name", nargs="?", help="a program (kubelet) or NAMESPACE/POD")
    images = verbs.add_parser("images", help="build this project's images and import what changed")
    images.add_argument("only", nargs="*", help="image names; all when none is given")
    images.add_argument("--output", type=Path, help="a folder for one OCI archive each, instead of the import")
    verbs.add_parser("pin", help="renew the pinned wheels of the images from this environment")
    verbs.add_parser("selftest", help="up, first answer, up again, kill -9 midway, down, nothing left")
    arguments = parser.parse_args()
    try:
        if arguments.verb in ("status", "logs"):
            return _VERBS[arguments.verb](arguments)
        with _alone():
            return _VERBS[arguments.verb](arguments)
    except CommandError as trouble:
        print(f"testbed: {trouble}", file=sys.stderr)
        return 1


@contextmanager
def _alone() -> Iterator[None]:
    """One change to the bed at a time; the next one waits."""
    BED.mkdir(exist_ok=True)
    with (BED / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build(_: argparse.Namespace) -> int:
    bed.build()
    return _report(bed.build_products())


def _up(arguments: argparse.Namespace) -> int:
    bed.up(arguments.gpus)
    return 0


def _down(_: argparse.Namespace) -> int:
    left = bed.down()
    print("\n".join(left), end="\n" if left else "")
    return 1 if left else 0


def _status(_: argparse.Namespace) -> int:
    programs = bed.status()
    for name, runs in programs.items():
        print(f"{name:26}{'running' if runs else 'stopped'}")
    if all(programs.values()):
        print(kubectl("get", "nodes", "-o", "wide"), kubectl("get", "pods", "-A", "-o", "wide"), sep="\n", end="")
        return 0
    return 3


def _logs(arguments: argparse.Namespace) -> int:
    if arguments.name and "/" in arguments.name:
        namespace, pod = arguments.name.split("/", 1)
        print(kubectl("-n", namespace, "logs", "--all-containers", "--prefix", "--tail=200", pod))
        return 0
    files = sorted(LOGS.glob(f"{arguments.name or '*'}.log"))
    if not files:
        raise CommandError(f"no log of {arguments.name or 'any program'} in {LOGS}")
    return subprocess.run(["tail", "-n", "200" if arguments.name else "15", *map(str, files)]).returncode


def _images(arguments: argparse.Namespace) -> int:
    only = tuple(arguments.only)
    if arguments.output:
        return _report(bed.export_product_images(arguments.output, only))
    return _report(bed.load_product_images(only))


def _report(refused: dict[str, str]) -> int:
    for name, reason in refused.items():
        print(f"{name}: not made, {reason}", file=sys.stderr)
    return 1 if refused else 0


def _pin(_: argparse.Namespace) -> int:
    constraints.renew()
    return 0


def _selftest(_: argparse.Namespace) -> int:
    return selftest.run_all()


_VERBS = {
    "build": _build,
    "up": _up,
    "down": _down,
    "status": _status,
    "logs": _logs,
    "images": _images,
    "pin": _pin,
    "selftest": _selftest,
}

if __name__ == "__main__":
    sys.exit(main())
