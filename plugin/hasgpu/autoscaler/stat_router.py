"""Process autoscaler: hands each stat to whoever acts for its revision: here, or the replica that holds the Lease.

Called on the event loop; keeps nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from hasgpu.model.keys import RevisionKey
from hasgpu.model.load import StatMessage
from hasgpu.stats.forwarder import Forwarder

from .leadership import Leadership


class StatRouter:
    """Any replica may be told any stat: the Service spreads connections over all of them."""

    def __init__(
        self,
        leadership: Leadership,
        class_of: Callable[[RevisionKey], str],
        accept: Mapping[str, Callable[[Sequence[StatMessage]], None]],
        clock: Callable[[], float],
    ) -> None:
        self._leadership = leadership
        self._class_of = class_of
        self._accept = accept
        self._clock = clock
        self.forwarder = Forwarder(leadership.urls)

    def route(self, messages: Sequence[StatMessage]) -> None:
        """Stats without a time are of now; those of a class that nobody serves are dropped."""
        now = self._clock()
        by_lease: dict[tuple[str, str], list[StatMessage]] = {}
        for message in messages:
            scaling_class = self._class_of(message.key)
            lease = self._leadership.lease_of(message.key, scaling_class)
            stamped = message if message.timestamp_s else replace(message, timestamp_s=now)
            by_lease.setdefault((lease, scaling_class), []).append(stamped)
        for (lease, scaling_class), group in by_lease.items():
            if not self._leadership.holds(lease):
                self.forwarder.offer(lease, group)
            elif scaling_class in self._accept:
                self._accept[scaling_class](group)
