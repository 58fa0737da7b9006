"""Process autoscaler: when Python looks for garbage: not while the cluster is listed, seldom afterwards."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator

_GARBAGE_AFTER = 50_000
"""Objects more than before. What deciding leaves behind is nearly all freed by itself: looking for the rest every 700
objects, as Python does, costs a sixth of the work at a thousand GPU revisions, and stops all of it for tens of ms."""


@contextlib.contextmanager
def kept_for_good() -> Iterator[None]:
    """Around what makes objects that are all kept: looking for garbage among a million costs a second."""
    gc.disable()
    yield
    gc.freeze()
    gc.set_threshold(_GARBAGE_AFTER)
    gc.enable()
