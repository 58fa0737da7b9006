"""Process autoscaler: the one thread that the GPU class lives in. Hands it leadership, load and time."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

from hasgpu.model.load import StatMessage

from .agenda import TICK_S
from .scaling_class import GpuClass

log = logging.getLogger(__name__)

_QUEUED_MESSAGES = 100_000


class GpuLoop:
    """Stats are handed over on arrival, between two short ticks; a tick follows where something woke the loop."""

    def __init__(
        self,
        gpu: GpuClass,
        leads: Callable[[], bool | None],
        woken: threading.Event,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._gpu, self._leads, self._woken, self._clock = gpu, leads, woken, clock
        self._messages: deque[StatMessage] = deque(maxlen=_QUEUED_MESSAGES)
        self._leading = self._lost = False
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="gpu class", daemon=True)

    def start(self) -> None:
        """Begins."""
        self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        """Ends after the tick that runs now."""
        self._stopping.set()
        self._woken.set()
        self._thread.join(timeout_s)

    def lost(self) -> None:
        """The Lease was another's, if only between two turns: what is known is out of date."""
        self._lost = True
        self._woken.set()

    def on_stats(self, messages: Sequence[StatMessage]) -> None:
        """Queues load; never blocks."""
        self._messages.extend(messages)
        self._woken.set()

    def _run(self) -> None:
        wait_s = TICK_S
        while not self._stopping.is_set():
            if wait_s > 0.0:
                self._woken.wait(wait_s)
            self._woken.clear()
            try:
                wait_s = min(TICK_S, self._turn())
            except Exception:
                # The loop's edge: one bad turn must not end the class for all revisions.
                log.exception("gpu class: a turn failed")
                self._stopping.wait(TICK_S)

    def _turn(self) -> float:
        """Seconds until the next, if nothing wakes it."""
        now, standing = self._clock(), self._leads()
        # In doubt load is remembered and nothing is decided: what could not be written is decided anew afterwards.
        leads = self._leading if standing is None else standing
        lost, self._lost = self._lost, False
        if lost or leads != self._leading:
            self._gpu.lead(leads, now)
            # Noted before anything can fail: a leader that began anew with each failed turn would forget its writes.
            self._leading = leads
        messages = [self._messages.popleft() for _ in range(len(self._messages))]
        if not leads:
            return TICK_S
        if messages:
            self._gpu.on_stats(messages, now)
        return TICK_S if standing is None else self._gpu.tick(now)
