"""Process cli: how a verb talks: to the cluster, and to the person who typed it. Knows no verb."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

from hasgpu.cluster.errors import ClusterError
from hasgpu.cluster.session import Session


class Trouble(Exception):
    """A verb can't go on; the message is for the person."""


class Progress:
    """One line for each thing done, with the time it took."""

    def done(self, what: str) -> None:
        """Says that it is done."""
        click.echo(f"  {what}")

    def note(self, what: str) -> None:
        """Says what the person should know."""
        click.echo(f"  note: {what}", err=True)

    @contextmanager
    def step(self, what: str) -> Iterator[None]:
        """Says what is going on; the time it took when it is over."""
        started_at = time.monotonic()
        click.echo(f"  {what} ...", nl=False)
        try:
            yield
        except BaseException:
            click.echo(" failed")
            raise
        click.echo(f" {time.monotonic() - started_at:.1f} s")


def connected(context: str | None) -> Session:
    """A session to the cluster of the kubeconfig."""
    try:
        return Session.connect(context, user_agent="kn-hasgpu")
    except ClusterError as error:
        raise click.ClickException(str(error)) from error


@contextmanager
def saying() -> Iterator[Progress]:
    """A verb's frame: what goes wrong becomes one line and exit code 1."""
    try:
        yield Progress()
    except BrokenPipeError:  # nobody reads any more: click ends quietly
        raise
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise click.ClickException(f"{where}{error.strerror or error}") from error
    except (Trouble, ClusterError, UnicodeError) as error:
        raise click.ClickException(str(error)) from error


def wait_for(holds: Callable[[], str | None], timeout_s: float, *, period_s: float = 0.1) -> None:
    """Asks until it answers None; what it answers meanwhile is the reason told when time is up."""
    ends_at = time.monotonic() + timeout_s
    while (reason := holds()) is not None:
        if time.monotonic() > ends_at:
            raise Trouble(f"not within {timeout_s:.0f} s: {reason}")
        time.sleep(period_s)
