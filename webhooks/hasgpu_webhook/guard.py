"""Whether hasgpu's autoscaler is in place: a Knative upgrade or its operator may put the stock one back.

Pure but for what it remembers: what was seen and since when, by the caller's clock. It tells; it repairs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from hasgpu.model.annotations import ALLOCATOR_LEASE

AUTOSCALER_ACCOUNT = "hasgpu-autoscaler"
PATIENCE_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """What the cluster shows of the autoscaler; None where it is not there."""

    service_account: str | None
    """Of the pods of Deployment ``autoscaler``."""
    lease: tuple[str, str] | None
    """Holder and renew time of the allocator's Lease: a living leader changes the latter."""


class AutoscalerGuard:
    """Owned by one thread."""

    def __init__(self) -> None:
        self._lease: tuple[str, str] | None = None
        self._lease_changed_s: float | None = None
        self._not_ours_since_s: float | None = None

    def trouble(self, sighting: Sighting, now_s: float) -> str | None:
        """What has been wrong for longer than the patience; None where nothing is, or not for so long."""
        if self._lease_changed_s is None or sighting.lease != self._lease:
            self._lease, self._lease_changed_s = sighting.lease, now_s
        if sighting.service_account == AUTOSCALER_ACCOUNT:
            self._not_ours_since_s = None
        elif self._not_ours_since_s is None:
            self._not_ours_since_s = now_s
        if self._not_ours_since_s is not None and now_s - self._not_ours_since_s >= PATIENCE_S:
            return "Deployment autoscaler is not hasgpu's"
        if now_s - self._lease_changed_s >= PATIENCE_S:
            return f"nobody renews Lease {ALLOCATOR_LEASE}"
        return None
