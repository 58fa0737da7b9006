"""What Debian gives the bed: missing packages of the host, and the root file system of the Python images.

It may not build images.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from e2e.testbed.paths import CACHE, LOGS
from e2e.testbed.pins import DEBIAN_BASE_PACKAGES, DEBIAN_PACKAGES, DEBIAN_SUITE
from e2e.testbed.shell import run

ROOT_FILES = CACHE / f"debian-{DEBIAN_SUITE}"

_NOT_NEEDED = ("var/cache/", "var/lib/apt/lists/", "var/log/", "usr/share/doc/", "usr/share/locale/",
               "usr/share/man/", "usr/share/info/", "usr/share/zoneinfo/", "usr/lib/udev/", "dev/",
               "usr/share/perl", "usr/lib/x86_64-linux-gnu/perl", "usr/lib/python3.11/test/",
               "usr/lib/python3.11/idlelib/", "usr/lib/python3.11/lib2to3/", "usr/share/i18n/",
               "usr/lib/x86_64-linux-gnu/gconv/", "proc/", "sys/")  # fmt: skip


def missing_packages() -> list[str]:
    return sorted({package for file, package in DEBIAN_PACKAGES.items() if not Path(file).exists()})


def install_packages() -> None:
    """Install what the host lacks, without starting the services Debian would start for it."""
    missing = missing_packages()
    if not missing:
        return
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    print(f"installing {' '.join(missing)}", flush=True)
    run("apt-get", "update", "-q", environment=quiet)
    with _no_services():
        run("apt-get", "install", "-q", "-y", "--no-install-recommends", *missing, environment=quiet)


class _no_services:  # noqa: N801  (a context, read as a phrase)
    """Debian starts what it installs; policy-rc.d is its own way to forbid that."""

    _POLICY = Path("/usr/sbin/policy-rc.d")

    def __enter__(self) -> None:
        self._made = not self._POLICY.exists()
        if self._made:
            self._POLICY.write_text("#!/bin/sh\nexit 101\n")
            self._POLICY.chmod(0o755)

    def __exit__(self, *_: object) -> None:
        if self._made:
            self._POLICY.unlink(missing_ok=True)


def make_root_files() -> Path:
    """debootstrap once; later calls find it done."""
    if ROOT_FILES.exists():
        return ROOT_FILES
    partial = ROOT_FILES.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    CACHE.mkdir(parents=True, exist_ok=True)
    LOGS.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    print("making the Debian root file system (once, about a minute)", flush=True)
    packages = ",".join(DEBIAN_BASE_PACKAGES)
    said = run("debootstrap", "--variant=minbase", f"--include={packages}", DEBIAN_SUITE, str(partial))
    (LOGS / "debootstrap.log").write_text(said)
    _trim(partial)
    partial.rename(ROOT_FILES)
    print(f"made the Debian root file system in {time.monotonic() - started:.0f} s", flush=True)
    return ROOT_FILES


def _trim(root: Path) -> None:
    for name in _NOT_NEEDED:
        folder = root / name.rstrip("/")
        for path in folder.parent.glob(f"{folder.name}*" if not name.endswith("/") else folder.name):
            if path.is_dir() and not path.is_symlink():
                _empty(path)


def _empty(folder: Path) -> None:
    """Content goes, the folder stays: some are mount points or expected to be there."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
