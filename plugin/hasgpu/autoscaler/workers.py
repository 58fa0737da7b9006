"""Process autoscaler: threads that reconcile what a queue holds. Knows how failures are retried, not what is done."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from hasgpu.cluster.errors import ClusterError, Conflict, NotFound, NotReached, TooManyRequests
from hasgpu.model.keys import RevisionKey

from .owned import NotOwnedError
from .reconciler import ReconcileError
from .work_queue import WorkQueue

log = logging.getLogger(__name__)

_NOT_REACHED_S = 3.0
"""What could not be asked of anybody comes back within so long: a longer wait would spare nobody."""


class Workers:
    """Enough of them that one waiting for the API server holds no other revision back."""

    def __init__(
        self,
        name: str,
        queue: WorkQueue[RevisionKey],
        reconcile: Callable[[RevisionKey, float], None],
        count: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.name, self._queue, self._reconcile, self._clock = name, queue, reconcile, clock
        self._threads = [
            threading.Thread(target=self._work, name=f"{name} {index}", daemon=True) for index in range(count)
        ]

    @property
    def waiting(self) -> int:
        """Keys that wait for a worker."""
        return len(self._queue)

    @property
    def failures(self) -> int:
        """Reconciles that ended in an error, each to be tried again."""
        return self._queue.failed

    def start(self) -> None:
        """Begins."""
        for thread in self._threads:
            thread.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        """Ends after what is being reconciled now."""
        self._queue.stop()
        for thread in self._threads:
            thread.join(timeout_s)

    def _work(self) -> None:
        while (key := self._queue.take()) is not None:
            try:
                self._reconcile(key, self._clock())
            except TooManyRequests as error:
                self._queue.retry(key, error.retry_after_s)
            except (Conflict, NotFound) as error:
                # Our copy lags behind: the next event brings it up to date.
                log.info("%s %s: %s", self.name, key, error)
                self._queue.retry(key)
            except NotReached as error:
                log.warning("%s %s: %s", self.name, key, error)
                self._queue.retry(key, most_s=_NOT_REACHED_S)
            except (ClusterError, ReconcileError, NotOwnedError) as error:
                log.warning("%s %s: %s", self.name, key, error)
                self._queue.retry(key)
            except Exception:
                # The worker's edge: whatever one revision brings up, the others must be served.
                log.exception("%s %s failed", self.name, key)
                self._queue.retry(key)
            else:
                self._queue.succeeded(key)
            finally:
                self._queue.done(key)
