"""Counts how often each way out of each decision of a module was taken. A branch that no input took proves nothing.

A way out is the step from the line of an `if`, `while`, `for`, `assert` or conditional expression to the next line that
runs; those that a line can have are found in the source.
"""

from __future__ import annotations

import ast
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType, ModuleType
from typing import Any

RETURNED = -1
"""Where a function is left instead of going to a next line."""


@dataclass(slots=True)
class Branches:
    """The decisions of some modules, and how often each way out was taken."""

    modules: tuple[ModuleType, ...]
    taken: Counter[tuple[str, int, int]] = field(default_factory=Counter)
    _tests: dict[str, set[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for module in self.modules:
            assert module.__file__
            self._tests[module.__file__] = set(_tests(Path(module.__file__)))

    @contextmanager
    def counting(self) -> Iterator[None]:
        """While this is open every call into the modules is counted; it makes them some ten times slower."""
        before = sys.gettrace()
        sys.settrace(self._enter)
        try:
            yield
        finally:
            sys.settrace(before)

    def _enter(self, frame: FrameType, event: str, arg: Any) -> Any:
        tests = self._tests.get(frame.f_code.co_filename)
        if tests is None or frame.f_code.co_name == "<module>":
            return None
        return _Follower(frame.f_code, tests, self.taken).step

    def ways(self) -> list[tuple[str, int, tuple[int, ...]]]:
        """Each decision with the counts of the ways taken from it, least first; a single one is half unseen."""
        found = []
        for name, tests in self._tests.items():
            for line in sorted(tests):
                counts = [n for (file, at, _), n in self.taken.items() if (file, at) == (name, line)]
                found.append((Path(name).name, line, tuple(sorted(counts))))
        return found

    def seldom(self, least: int) -> list[str]:
        """Decisions of which some way was taken less often than ``least`` times, in words."""
        return [
            f"{name}:{line}: taken {', '.join(map(str, counts)) or 'never'}"
            for name, line, counts in self.ways()
            if len(counts) < 2 or counts[0] < least
        ]


class _Follower:
    """One call of a function."""

    __slots__ = ("_at", "_code", "_taken", "_tests")

    def __init__(self, code: CodeType, tests: set[int], taken: Counter[tuple[str, int, int]]) -> None:
        self._code, self._tests, self._taken = code, tests, taken
        self._at = 0

    def step(self, frame: FrameType, event: str, arg: Any) -> Any:
        if event == "line" or event == "return":
            line = frame.f_lineno if event == "line" else RETURNED
            if self._at in self._tests and line != self._at:
                self._taken[self._code.co_filename, self._at, line] += 1
            self._at = line
        return self.step


def _tests(file: Path) -> Iterator[int]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.If | ast.While) and not _is_constant(node.test):
            yield node.test.lineno
        elif isinstance(node, ast.For):
            yield node.lineno


def _is_constant(test: ast.expr) -> bool:
    return isinstance(test, ast.Constant)
