"""Answers requests with inferences: those that wait while one runs are answered together by the next."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass, field

from .driver import Driver
from .network import Network
from .settings import Settings
from .table import Table, read_table


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What one request gets to know about the inference that answered it."""

    gpu_ms: float
    total_ms: float
    batch: int
    sm_count: int


@dataclass(slots=True)
class _Waiting:
    asked_at: float
    done: threading.Event = field(default_factory=threading.Event)
    gpu_ms: float = 0.0
    batch: int = 0
    sm_count: int = 0
    error: Exception | None = None


class Server:
    """Shares one or more networks among the server's threads."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._table: Table = read_table(settings.model)
        self._waiting: deque[_Waiting] = deque()
        self._taking = threading.Lock()
        self._free = threading.Semaphore(settings.streams)
        self._networks: deque[Network] = deque()
        self._starting = threading.Lock()
        if not settings.lazy:
            self._start()

    def _start(self) -> None:
        """All or nothing: a server that failed to start says so at each request and tries again."""
        with self._starting:
            if not self._networks:
                driver, scale = Driver(), self._settings.host_time_scale
                self._networks.extend([Network(driver, self._table, scale) for _ in range(self._settings.streams)])

    def predict(self, batch: int | None = None) -> Answer:
        """Runs alone with a batch of the caller's, or together with whoever waits."""
        if self._settings.lazy and not self._networks:
            self._start()
        mine = _Waiting(asked_at=time.monotonic())
        if batch is None:
            self._waiting.append(mine)
        with self._free:
            if batch:
                self._run([mine], batch)
            while not mine.done.is_set() and self._run_waiting():
                continue  # others that came before may be answered first
        mine.done.wait()
        if mine.error:
            raise mine.error
        total_ms = (time.monotonic() - mine.asked_at) * 1000
        return Answer(gpu_ms=mine.gpu_ms, total_ms=total_ms, batch=mine.batch, sm_count=mine.sm_count)

    def _run_waiting(self) -> bool:
        """Whether anybody waited: a request that is in nobody's queue any more is being answered."""
        taken: list[_Waiting] = []
        with self._taking:
            while self._waiting and len(taken) < self._settings.batch_size:
                taken.append(self._waiting.popleft())
        if taken:
            self._run(taken, len(taken))
        return bool(taken)

    def _run(self, requests: list[_Waiting], batch: int) -> None:
        network = self._networks.popleft()
        gpu_ms, error = 0.0, None
        try:
            network.enter()
            gpu_ms = network.infer(batch)
        except Exception as caught:  # told to every request that it would have answered
            error = caught
        finally:
            self._networks.append(network)
            for request in requests:
                request.gpu_ms, request.batch, request.sm_count, request.error = gpu_ms, batch, network.sm_count, error
                request.done.set()
