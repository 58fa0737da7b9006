"""Process fitter: CSV files as people have them: a byte order mark, blank lines, any order of columns, gzipped as .gz.

Errors (InputError) name file, line, column and value. OSError is the caller's.
"""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from .errors import InputError


@dataclass(slots=True)  # not frozen, which takes longer to make: there may be millions
class CsvRow:
    """One line below the header."""

    table: CsvTable
    line: int
    values: Sequence[str]

    def text(self, column: str) -> str:
        """The value without blanks around it."""
        return self.values[self.table.columns.index(column)].strip()

    def number(self, column: str, holds: Callable[[float], bool], must: str) -> float:
        """A number for which something holds; ``must`` says what."""
        try:
            value = float(self.text(column))
        except ValueError:
            value = float("nan")
        if not holds(value):
            raise self.error(column, must)
        return value

    def whole(self, column: str, low: int, high: int) -> int:
        """A whole number within bounds."""
        return int(
            self.number(column, lambda value: low <= value <= high and value % 1 == 0, f"a whole number {low}..{high}")
        )

    def error(self, column: str, must: str) -> InputError:
        """A value is not what it must be."""
        what = f"{column} is {self.text(column)!r}, must be {must}"
        return InputError(str(self.table.path), self.line, what, self.table.columns.index(column) + 1)


class CsvTable:
    """A file with a header."""

    def __init__(self, path: Path, needed: Sequence[str] = ()) -> None:
        self.path, self._text = path, _text(path)
        _, header = next(self._filled(), (1, ()))
        self.columns = tuple(name.strip() for name in header)
        for name in needed:
            if self.columns.count(name) != 1:
                wrong = f"has the column {name!r} twice" if name in self.columns else f"lacks the column {name!r}"
                raise self.error(1, f"{wrong}; it has: {', '.join(self.columns) or 'none'}")

    def rows(self) -> Iterator[CsvRow]:
        """What stands below the header."""
        lines, count = self._filled(), len(self.columns)
        next(lines, None)
        for line, values in lines:
            if len(values) < count or "".join(values[count:]).strip():
                raise self.error(line, f"has {len(values)} columns, must have {count}: {', '.join(self.columns)}")
            yield CsvRow(self, line, values[:count])

    def error(self, line: int, what: str) -> InputError:
        """Of a whole line."""
        return InputError(str(self.path), line, what)

    def _filled(self) -> Iterator[tuple[int, Sequence[str]]]:
        reader = csv.reader(io.StringIO(self._text, newline=""))
        try:
            for values in reader:
                if "".join(values).strip():
                    yield reader.line_num, values
        except csv.Error as error:
            raise self.error(reader.line_num, f"is no CSV: {error}") from error


def _text(path: Path) -> str:
    raw = path.read_bytes()
    if path.suffix == ".gz":
        try:
            raw = gzip.decompress(raw)
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(str(path), 1, f"is no gzip: {error}") from error
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = 1 + raw.count(b"\n", 0, error.start)
        raise InputError(str(path), line, f"is no text in UTF-8: byte 0x{raw[error.start]:02x}") from error
