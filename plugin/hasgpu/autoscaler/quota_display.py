"""Process autoscaler: shows each revision's quota on its PodAutoscaler, from a thread of its own. Decides nothing.

Nobody waits for it: of several quotas of a revision the last is shown, and one that can't be is left out.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from hasgpu.cluster.errors import ClusterError
from hasgpu.cluster.patch import merge_patch
from hasgpu.cluster.paths import POD_AUTOSCALERS, named
from hasgpu.cluster.session import Session
from hasgpu.model.keys import RevisionKey

log = logging.getLogger(__name__)

QUOTA_STATUS = "hasgpu.dev/time-quota"
"""On PodAutoscaler.status.annotations: the quota decided last, in percent."""


class QuotaDisplay:
    """Its thread begins with the first quota."""

    def __init__(
        self, session: Session, still_leading: Callable[[float], bool], clock: Callable[[], float] = time.time
    ) -> None:
        self._session, self._still_leading, self._clock = session, still_leading, clock
        self._changed = threading.Condition()
        self._due: dict[RevisionKey, int] = {}
        self._thread: threading.Thread | None = None

    def show(self, revision: RevisionKey, quota_percent: int) -> None:
        """Never blocks."""
        with self._changed:
            self._due[revision] = quota_percent
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="quota display", daemon=True)
                self._thread.start()
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._due)
                revision = next(iter(self._due))
                quota_percent = self._due.pop(revision)
            if not self._still_leading(self._clock()):
                continue
            body = {"status": {"annotations": {QUOTA_STATUS: str(quota_percent)}}}
            try:
                merge_patch(self._session, named(POD_AUTOSCALERS, revision.namespace, revision.name, "status"), body)
            except ClusterError as error:
                log.warning("%s: quota not shown: %s", revision, error)
