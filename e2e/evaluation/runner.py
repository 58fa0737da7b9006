"""Evaluation: works on many independent pieces with a few processes, keeps what is done, tells how far it is.

A piece is a function and its argument. What came out is kept in a folder under a digest of the piece and of all code
it may depend on: a run that was ended is gone on with, and a piece that two sections ask for is worked on once.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import pickle
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

ROOT = Path(__file__).parents[2]
SOURCES = ("plugin/hasgpu", *(f"e2e/evaluation/{name}.py" for name in ("data", "job", "replayed", "rows")))
"""What a piece runs; how the others ask for pieces and tell of them changes no outcome."""
TOLD_EVERY_S = 10.0


class Runner:
    """Use as a context: the processes end with it."""

    def __init__(self, processes: int, folder: Path) -> None:
        self._pool = ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("fork"))
        self._folder = folder
        self._began_s = self._told_s = time.monotonic()
        self._section, self._before, self._share = "", 0.0, 1.0
        self.cpu_s = 0.0
        """Of all processes, in this run."""
        self.worked = self.kept = 0
        """Pieces that were worked on, and those that had been before."""

    def __enter__(self) -> Runner:
        self._folder.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def section(self, name: str, before: float, share: float) -> None:
        """What comes next: parts of the whole that lie before it, and that it is."""
        self._section, self._before, self._share = name, before, share

    def map(self, function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
        """What the function makes of each, in their order. Raises what a piece raised."""
        digests = [_digest(function, item) for item in items]
        found: dict[str, Any] = {}
        waiting: dict[Future[tuple[Result, float]], str] = {}
        for digest, item in zip(digests, items, strict=True):
            if digest not in found:
                found[digest] = self._stored(digest)
                if found[digest] is None:
                    waiting[self._pool.submit(_timed, function, item)] = digest
        for number, future in enumerate(as_completed(waiting)):
            result, taken_s = future.result()
            self.cpu_s += taken_s
            self.worked += 1
            found[waiting[future]] = (result,)
            self._folder.joinpath(waiting[future]).write_bytes(pickle.dumps((result,)))
            self._tell(number + 1, len(waiting))
        self.kept += len(items) - len(waiting)
        return [found[digest][0] for digest in digests]

    def forget(self) -> None:
        """The next run begins anew."""
        shutil.rmtree(self._folder)

    def _stored(self, digest: str) -> tuple[Any] | None:
        file = self._folder / digest
        return pickle.loads(file.read_bytes()) if file.exists() else None

    def _tell(self, done: int, of: int) -> None:
        now = time.monotonic()
        if now - self._told_s < TOLD_EVERY_S:
            return
        self._told_s = now
        taken_s = now - self._began_s
        part = self._before + self._share * done / of
        left = f", about {taken_s * (1.0 - part) / part / 60.0:.0f} min to go" if part > 0.02 else ""
        print(f"{self._section}: {done} of {of}; {taken_s / 60.0:.1f} min{left}", file=sys.stderr, flush=True)


def _timed(function: Callable[[Item], Result], item: Item) -> tuple[Result, float]:
    started_s = time.process_time()
    return function(item), time.process_time() - started_s


def _digest(function: Callable[[Item], Result], item: Item) -> str:
    named = f"{_sources()} {function.__module__}.{function.__qualname__}".encode()
    return hashlib.blake2b(named + pickle.dumps(item), digest_size=16).hexdigest()


@lru_cache(maxsize=1)
def _sources() -> str:
    """Of everything an outcome may depend on but the published data."""
    digest = hashlib.blake2b(digest_size=16)
    for source in SOURCES:
        path = ROOT / source
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.suffix in {".py", ".json"}:
                digest.update(file.read_bytes())
    return digest.hexdigest()
