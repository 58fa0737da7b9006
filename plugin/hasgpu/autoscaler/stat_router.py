"""Process autoscaler: hands each stat to whoever acts for its revision: here, or the replica that holds the Lease.

Called on the event loop; keeps nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

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
        takes: Callable[[StatMessage], bool] = lambda message: False,
    ) -> None:
        """``takes``: messages that are about no revision, true where one is."""
        self._takes = takes
        self._leadership = leadership
        self._class_of = class_of
        self._accept = accept
        self.forwarder = Forwarder(leadership.urls)

    def route(self, messages: Sequence[StatMessage]) -> None:
        """Stats of a class that nobody serves are dropped."""
        by_lease: dict[tuple[str, str], list[StatMessage]] = {}
        for message in messages:
            if self._takes(message):
                continue
            scaling_class = self._class_of(message.key)
            lease = self._leadership.lease_of(message.key, scaling_class)
            by_lease.setdefault((lease, scaling_class), []).append(message)
        for (lease, scaling_class), group in by_lease.items():
            if not self._leadership.holds(lease):
                self.forwarder.offer(lease, group)
            elif scaling_class in self._accept:
                self._accept[scaling_class](group)
