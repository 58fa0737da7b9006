"""Process autoscaler: hands each stat to whoever acts for its revision: here, or the replica that holds the Lease.

Called on the event loop; keeps nothing.
"""

from __future__ import annotations

from collections import defaultdict
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
        apart: Mapping[RevisionKey, Callable[[StatMessage], None]] | None = None,
    ) -> None:
        """``apart``: keys that are no revision's, and who takes what is told of them."""
        self._apart = apart or {}
        self._leadership = leadership
        self._class_of = class_of
        self._accept = accept
        self.forwarder = Forwarder(leadership.urls, self._keep)

    def route(self, messages: Sequence[StatMessage]) -> None:
        """Stats of a class that nobody serves are dropped."""
        by_lease: dict[tuple[str, str], list[StatMessage]] = defaultdict(list)
        apart, class_of, lease_of = self._apart, self._class_of, self._leadership.lease_of
        for message in messages:
            key = message.key
            if key in apart:
                apart[key](message)
                continue
            scaling_class = class_of(key)
            by_lease[lease_of(key, scaling_class), scaling_class].append(message)
        for (lease, scaling_class), group in by_lease.items():
            # In doubt load is ours to remember: where nobody else leads, we shall again.
            if self._leadership.standing(lease) is False:
                self.forwarder.offer(lease, group)
            elif scaling_class in self._accept:
                self._accept[scaling_class](group)

    def _keep(self, messages: Sequence[StatMessage]) -> None:
        """What waited for this replica to lead. What it would have told of itself is out of date."""
        self.route([message for message in messages if message.key not in self._apart])
