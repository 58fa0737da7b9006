"""Process cli: how the profile verbs talk: errors as one line, progress as a bar on standard error."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from hasgpu.fitter.errors import FitError

from .command import Trouble, saying


@contextmanager
def telling() -> Iterator[None]:
    """A verb's frame: bad input becomes one line and exit code 1."""
    with saying():
        try:
            yield
        except FitError as error:
            raise Trouble(str(error)) from error


@contextmanager
def bar(what: str) -> Iterator[Callable[[float], None]]:
    """A progress bar that is told the part done; nothing where nobody watches."""
    if not sys.stderr.isatty():
        yield lambda part: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=1.0)
        yield lambda part: progress.update(task, completed=part)
