"""Process autoscaler: what a revision of our class asks for, read once of each version of its PodAutoscaler. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

from hasgpu.cluster.knative import PodAutoscaler
from hasgpu.model.intent import GpuIntent
from hasgpu.settings.autoscaler import AutoscalerSettings
from hasgpu.settings.knative import DeploymentSettings

from . import revision_spec
from .load_book import ServiceRevision
from .revision_intents import intent_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One version's wishes, under the settings of a time; all revisions are decided each second, and hardly ever does
    one of them ask for something else."""

    pa: PodAutoscaler
    autoscaler: AutoscalerSettings
    deployment: DeploymentSettings
    intent: GpuIntent | None
    """None where it can't be obeyed: the webhook refuses such, so somebody went around it."""
    least: int
    most: int
    """Pods; 0: no bound."""
    activation_scale: int
    stable_window_s: float
    gives_up_after_s: float
    """As long as Knative lets a revision start, where nothing routes to it (any more); else for ever."""
    of_service: ServiceRevision

    @classmethod
    def read(cls, pa: PodAutoscaler, autoscaler: AutoscalerSettings, deployment: DeploymentSettings) -> Asked:
        """Parses all of it."""
        bounds, spec = revision_spec.bounds(pa, autoscaler), revision_spec.decider_spec(pa, autoscaler)
        policy = revision_spec.zero_policy(pa, autoscaler, deployment, activation_times_out=True)
        intent = intent_of(pa.metadata.annotations, pa.metadata.labels)
        return cls(
            pa=pa,
            autoscaler=autoscaler,
            deployment=deployment,
            intent=intent,
            least=bounds.least,
            most=bounds.most,
            activation_scale=spec.activation_scale,
            stable_window_s=spec.stable_window_s,
            gives_up_after_s=math.inf if revision_spec.reachable(pa) else policy.activation_timeout_s,
            of_service=ServiceRevision.of(pa, intent.profile if intent is not None else ""),
        )

    def holds(self, pa: PodAutoscaler, autoscaler: AutoscalerSettings, deployment: DeploymentSettings) -> bool:
        """Whether it would be read the same again."""
        return self.pa is pa and self.autoscaler is autoscaler and self.deployment is deployment
