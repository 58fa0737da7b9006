"""Process fitter: what can be wrong with its input.

FitError      the caller's data can't be used; the message names file, line and column where there are any
  InputError  a file can't be used; begins with file and line
"""

from __future__ import annotations


class FitError(Exception):
    """The data can't be used; the message is for the person who gave it."""


class InputError(FitError):
    """A file can't be used; the message begins with its name, the line and, where it is known, the column."""

    def __init__(self, file: str, line: int, what: str, column: int | None = None) -> None:
        place = f"{file}:{line}" if column is None else f"{file}:{line}:{column}"
        super().__init__(f"{place}: {what}")
