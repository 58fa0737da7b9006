"""Adapter cluster: waits for the API server before a process begins, as a node that boots or an upgrade asks for."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from .errors import ClusterError, Unreachable
from .session import Session

log = logging.getLogger(__name__)

PATIENCE_S = 60.0
"""As Knative's components wait: a process that ends is started again by the kubelet, each time later."""
_AGAIN_S = 1.0


def answered(session: Session, stopping: threading.Event, clock: Callable[[], float] = time.monotonic) -> bool:
    """True as soon as the API server answers; False where ``stopping`` is set first.

    Raises Unreachable where it does not in a minute. A refusal is an answer: what may be read is for who needs it.
    """
    until_s = clock() + PATIENCE_S
    while not stopping.is_set():
        try:
            session.request("GET", "/version")
            return True
        except Unreachable as error:
            if clock() >= until_s:
                raise
            log.warning("the API server does not answer yet: %s", error)
        except ClusterError:
            return True
        stopping.wait(_AGAIN_S)
    return False
