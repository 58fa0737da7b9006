"""Process autoscaler: the status of a PodAutoscaler under change. Pure; told the time.

Reference: knative/serving pkg/reconciler/autoscaling/kpa/kpa.go (computeStatus, computeActiveCondition).
"""

from __future__ import annotations

from typing import Any

from hasgpu.cluster.knative import PodAutoscaler, PodAutoscalerStatus
from hasgpu.decision.pod_scale import UNKNOWN, Activity, ScaleBounds

from .conditions import READY, Conditions, same, to_wire

ACTIVE = "Active"
INITIALIZED = "ScaleTargetInitialized"
SKS_READY = "SKSReady"

_NO_TRAFFIC = ("NoTraffic", "The target is not receiving traffic.")
_TIMED_OUT = ("TimedOut", "The target could not be activated.")
_QUEUED = ("Queued", "Requests to the target are being buffered as resources are provisioned.")


class StatusDraft:
    """One reconcile's view of the status; ``wire`` is what to store, ``changed`` whether that is needed."""

    def __init__(self, pa: PodAutoscaler, now: float) -> None:
        self._before = pa.status
        self._generation = pa.metadata.generation
        self._now = now
        self.service_name = pa.status.service_name
        self.metrics_service_name = pa.status.metrics_service_name
        self.desired_scale = pa.status.desired_scale
        self.actual_scale = pa.status.actual_scale
        self.conditions = Conditions((ACTIVE, INITIALIZED, SKS_READY), pa.status.conditions)
        self.conditions.initialize()
        if pa.status.observed_generation != pa.metadata.generation:
            why = "unsuccessfully observed a new generation"
            self.conditions.mark_unknown(READY, "NewObservedGenFailure", why)

    @property
    def activity(self) -> Activity:
        """The Active condition and for how long it has said so."""
        active = self.conditions.get(ACTIVE)
        since = active.last_transition_time if active is not None else None
        for_s = self._now - since.timestamp() if since is not None else 0.0
        return Activity(status=self.conditions.status(ACTIVE), for_s=for_s)

    @property
    def initialized(self) -> bool:
        """The initial scale was reached once."""
        return self.conditions.status(INITIALIZED) == "True"

    def mark_sks(self, ready: bool, message: str) -> None:
        """What the SKS says of itself."""
        if ready:
            self.conditions.mark_true(SKS_READY)
        else:
            self.conditions.mark_unknown(SKS_READY, "NotReady", message)

    def mark_not_owned(self, kind: str, name: str) -> None:
        """Somebody else made an object of the name we need."""
        self.conditions.mark_false(ACTIVE, "NotOwned", f'There is an existing {kind} "{name}" that we do not own.')

    def observe(self, want: int, ready: int, bounds: ScaleBounds) -> None:
        """Draw the conclusions from the pods wanted and ready. An unknown wish does not overwrite a known one."""
        self.actual_scale = ready
        if want != UNKNOWN or self.desired_scale is None or self.desired_scale < 0:
            self.desired_scale = want
        enough = max(bounds.least, 1 if self.initialized else bounds.initial)
        if ready >= enough and self.service_name:
            self.conditions.mark_true(INITIALIZED)
        self._observe_activity(want, ready, enough)

    def _observe_activity(self, want: int, ready: int, enough: int) -> None:
        status = self.conditions.status(ACTIVE)
        if want == 0 or enough == 0:
            timed_out = status == "Unknown" and enough > 0
            self.conditions.mark_false(ACTIVE, *(_TIMED_OUT if timed_out else _NO_TRAFFIC))
        elif ready < enough:
            if want > 0 or status != "False":
                self.conditions.mark_unknown(ACTIVE, *_QUEUED)
            else:
                self.conditions.mark_false(ACTIVE, *_NO_TRAFFIC)
        elif want > 0 or status != "False":
            self.conditions.mark_true(ACTIVE)

    @property
    def changed(self) -> bool:
        """False where only transition times would differ."""
        settled = self.conditions.settled(self._now)
        before = self._before
        return (
            _scalars(before) != _scalars(self)
            or before.observed_generation != self._generation
            or len(before.conditions) != len(settled)
            or not all(
                old.type == new.type and same(old, new)
                for old, new in zip(sorted(before.conditions, key=lambda each: each.type), settled, strict=True)
            )
        )

    def wire(self) -> dict[str, Any]:
        """The status to store; both service names always, since the CRD requires them."""
        return {
            "observedGeneration": self._generation,
            "serviceName": self.service_name,
            "metricsServiceName": self.metrics_service_name,
            "desiredScale": self.desired_scale,
            "actualScale": self.actual_scale,
            "conditions": to_wire(self.conditions.settled(self._now)),
        }


def _scalars(status: PodAutoscalerStatus | StatusDraft) -> tuple[str, str, int | None, int | None]:
    return status.service_name, status.metrics_service_name, status.desired_scale, status.actual_scale
