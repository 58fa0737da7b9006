"""What quotas hold above their demand, and when giving it back is worth a write. Pure.

By chance demand falls as often as it rises, and a quota that follows it down soon follows it up again. So what is held
for nothing is summed up; once it has cost as much as a write is worth, the quota falls: a large fall at once, a small
one after a while. Whatever the demand does afterwards, that costs at most twice what knowing it would have (the
ski-rental rule). Raises never wait.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .policy import Policy
from .vertical import Share

MOST_BETWEEN_S = 2.0
"""Of a longer time between two decisions it isn't known what was held for nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waste:
    """What a revision's pods have held above its demand, in percent of a row times seconds."""

    percent_s: float = 0.0
    seen_s: float | None = None

    def grown(self, surplus_percent: int, now: float) -> Waste:
        """The waste after another decision; it begins anew where all that is held is needed."""
        if surplus_percent <= 0 or self.seen_s is None:
            return Waste(seen_s=now)
        elapsed_s = min(max(0.0, now - self.seen_s), MOST_BETWEEN_S)
        return Waste(percent_s=self.percent_s + surplus_percent * elapsed_s, seen_s=now)

    def worth_a_write(self, surplus_percent: int, policy: Policy) -> bool:
        """True once so much is to be given back; it was for nothing while demand that had passed was held, too."""
        return self.percent_s + surplus_percent * policy.hold_s >= policy.write_percent_s


def surplus_percent(shares: Sequence[Share], alpha: int) -> int:
    """The most that a pod holds above what it gets at an alpha; below 0 where all get more."""
    return max((share.placement.slice.time_quota.percent - share.quota(alpha) for share in shares), default=0)
