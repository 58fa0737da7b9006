"""A process that is started before the API server answers."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import count

import pytest
from hasgpu.cluster.errors import NotReached, Refused, Unreachable
from hasgpu.cluster.first_contact import answered
from hasgpu.cluster.session import Session


class Booting(Session):
    """An API server that refuses connections for some requests."""

    def __init__(self, refusals: int, stopping: threading.Event | None = None) -> None:
        super().__init__("https://nowhere.invalid")
        self.asked, self._refusals, self._stopping = 0, refusals, stopping

    def request(self, method: str, path: str, **_: object) -> bytes:
        self.asked += 1
        if self.asked <= self._refusals:
            if self._stopping is not None:
                self._stopping.set()
            raise NotReached(f"{method} {path}: connection refused")
        return b"{}"


class Impatient(threading.Event):
    """Nobody waits in a test."""

    def wait(self, timeout: float | None = None) -> bool:
        return self.is_set()


@pytest.fixture
def seconds() -> Iterator[float]:
    """A clock of one second a look."""
    return iter(float(second) for second in count())


def test_a_process_begins_when_the_api_server_answers(seconds: Iterator[float]) -> None:
    server = Booting(refusals=5)
    assert answered(server, Impatient(), lambda: next(seconds))
    assert server.asked == 6


def test_after_a_minute_it_says_what_failed(seconds: Iterator[float]) -> None:
    with pytest.raises(Unreachable, match="GET /version: connection refused"):
        answered(Booting(refusals=1000), Impatient(), lambda: next(seconds))
    assert next(seconds) > 60


def test_who_is_told_to_stop_waits_no_longer(seconds: Iterator[float]) -> None:
    stopping = Impatient()
    assert not answered(Booting(refusals=1000, stopping=stopping), stopping, lambda: next(seconds))


def test_a_refusal_is_an_answer() -> None:
    class Forbids(Booting):
        def request(self, method: str, path: str, **_: object) -> bytes:
            raise Refused(f"{method} {path}: 403 forbidden", status=403)

    assert answered(Forbids(0), Impatient())
