"""Process autoscaler: brings one PodAutoscaler's Deployment scale, SKS, Metric and status to what its class wants.

The same for every class. Writes nothing where nothing has to change; keeps no state between two reconciles.
Reference: knative/serving pkg/reconciler/autoscaling/kpa/kpa.go and scaler.go.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from hasgpu.cluster.knative import Metric, PodAutoscaler, ServerlessService
from hasgpu.cluster.metadata import condition, is_true
from hasgpu.cluster.objects import Deployment
from hasgpu.cluster.patch import add, json_patch, merge_patch
from hasgpu.cluster.paths import DEPLOYMENTS, POD_AUTOSCALERS, named
from hasgpu.cluster.reflector import Reflector
from hasgpu.cluster.session import Session
from hasgpu.decision.pod_scale import UNKNOWN, ScaleStep, scale_step
from hasgpu.model.annotations import CONFIGURATION_LABEL, REVISION_LABEL
from hasgpu.model.decider import DeciderSpec
from hasgpu.model.keys import RevisionKey
from hasgpu.settings.store import ConfigStore

from . import revision_spec
from .owned import NotOwnedError, ensure_metric, ensure_sks
from .pa_status import StatusDraft
from .pod_index import PodIndex
from .scaling_class import ScalingClass, Wanted

log = logging.getLogger(__name__)


class ReconcileError(Exception):
    """The object can't be reconciled as it is; it is tried again."""


class NotLeadingError(Exception):
    """The lead was lost, or is in doubt, since the pass began: nothing more may be written in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caches:
    """What the reconciler reads."""

    podautoscalers: Reflector[PodAutoscaler]
    sks: Reflector[ServerlessService]
    metrics: Reflector[Metric]
    deployments: Reflector[Deployment]
    pods: PodIndex


@dataclass(frozen=True, slots=True, kw_only=True)
class Edges:
    """What the reconciler calls: each may be another thing in a test."""

    leads: Callable[[RevisionKey, str], bool | None]
    """Whether this replica acts for the revision, which is of that class; None while nobody knows."""
    activator_answers: Callable[[PodAutoscaler], bool]
    recheck: Callable[[RevisionKey, float], None]
    """Reconcile again after so many seconds."""
    scaled: Callable[[PodAutoscaler, int, int], None]
    """The Deployment's replicas were changed from, to."""
    failed: Callable[[PodAutoscaler, Exception], None]


class Reconciler:
    """May be used by several workers, though never for one key at a time."""

    def __init__(
        self,
        session: Session,
        caches: Caches,
        settings: ConfigStore,
        classes: Mapping[str, ScalingClass],
        edges: Edges,
    ) -> None:
        self._session = session
        self._caches = caches
        self._settings = settings
        self._classes = classes
        self._edges = edges

    def reconcile(self, key: RevisionKey, now: float) -> None:
        """One pass; raises what went wrong after the status was written all the same.

        Leadership is asked for before each write: one that hangs takes as long as a Lease may last.
        """
        pa = self._caches.podautoscalers.get(key.namespace, key.name)
        name = revision_spec.scaling_class(pa) if pa is not None else None
        for other, scaling_class in self._classes.items():
            if other != name or self._edges.leads(key, other) is False:
                scaling_class.forget(key)
        if pa is None or name is None or name not in self._classes or not self._edges.leads(key, name):
            return
        if pa.metadata.deletion_timestamp is not None:
            return
        draft = StatusDraft(pa, now)
        failure: Exception | None = None
        try:
            self._reconcile(key, pa, self._classes[name], draft, now)
        except NotLeadingError:
            return
        except NotOwnedError as error:
            draft.mark_not_owned(error.kind, pa.metadata.name)
            failure = error
        except Exception as error:
            failure = error
        if draft.changed and self._edges.leads(key, name):
            path = named(POD_AUTOSCALERS, key.namespace, key.name, "status")
            merge_patch(self._session, path, {"status": draft.wire()})
        if failure is not None:
            self._edges.failed(pa, failure)
            raise failure

    def _reconcile(
        self, key: RevisionKey, pa: PodAutoscaler, scaling_class: ScalingClass, draft: StatusDraft, now: float
    ) -> None:
        settings = self._settings.autoscaler.value
        bounds = revision_spec.bounds(pa, settings)
        sks = self._caches.sks.get(key.namespace, key.name)
        if sks is None or not sks.status.private_service_name:
            ensure_sks(self._session, pa, sks, "Proxy", revision_spec.MIN_ACTIVATORS)
            draft.mark_sks(False, "No Private Service Name")
            draft.observe(UNKNOWN, 0, bounds)
            return
        draft.metrics_service_name = sks.status.private_service_name
        _require_labels(pa)
        spec = revision_spec.decider_spec(pa, settings)
        wanted = scaling_class.wanted(pa, spec, now)
        if scaling_class.scrapes:
            metric = revision_spec.metric_spec(pa, settings, draft.metrics_service_name)
            self._require_lead(pa)
            ensure_metric(self._session, pa, self._caches.metrics.get(key.namespace, key.name), metric)
        want = self._scale(key, pa, sks, wanted, spec, draft, scaling_class.activation_times_out, now)
        ready = self._caches.pods.counts(key).ready
        mode = "Serve" if want > 0 and wanted.excess_burst_capacity >= 0 else "Proxy"
        self._require_lead(pa)
        updated = ensure_sks(self._session, pa, sks, mode, revision_spec.activators(spec, ready)) or sks
        draft.service_name = updated.status.service_name
        draft.mark_sks(_sks_ready(updated), _sks_message(updated))
        draft.observe(want, ready, bounds)

    def _scale(
        self,
        key: RevisionKey,
        pa: PodAutoscaler,
        sks: ServerlessService,
        wanted: Wanted,
        spec: DeciderSpec,
        draft: StatusDraft,
        times_out: bool,
        now: float,
    ) -> int:
        """The pods to ask for now; the Deployment is patched where it asks for others."""
        settings = self._settings.autoscaler.value
        unlimited_burst = spec.target_burst_capacity == -1
        # Who waits for room waits; what nobody routes to, and its class gave up, must not start for ever.
        times_out = times_out or (wanted.pods == 0 and not revision_spec.reachable(pa))
        step: ScaleStep = scale_step(
            wanted.pods,
            bounds=revision_spec.bounds(pa, settings),
            policy=revision_spec.zero_policy(
                pa, settings, self._settings.deployment.value, activation_times_out=times_out
            ),
            activity=draft.activity,
            initialized=draft.initialized,
            proxied=sks.spec.mode == "Proxy",
            proxied_for_s=_proxied_for_s(sks, now),
            # With an unlimited burst the activator never left the path.
            activator_in_path=lambda: unlimited_burst or self._edges.activator_answers(pa),
        )
        if step.recheck_after_s is not None:
            self._edges.recheck(key, step.recheck_after_s)
        if step.apply:
            self._apply(pa, step.want)
        return step.want

    def _apply(self, pa: PodAutoscaler, replicas: int) -> None:
        namespace, name = pa.metadata.namespace, pa.spec.scale_target_ref.name
        deployment = self._caches.deployments.get(namespace, name)
        if deployment is None:
            raise ReconcileError(f"Deployment {namespace}/{name} is not there to be scaled")
        before = deployment.spec.replicas
        if before == replicas:
            return
        self._require_lead(pa)
        path = named(DEPLOYMENTS, namespace, name, "scale")
        json_patch(self._session, path, [add("/spec/replicas", replicas)])
        log.info("%s/%s: scaled from %d to %d", namespace, pa.metadata.name, before, replicas)
        self._edges.scaled(pa, before, replicas)

    def _require_lead(self, pa: PodAutoscaler) -> None:
        key = RevisionKey(pa.metadata.namespace, pa.metadata.name)
        if not self._edges.leads(key, revision_spec.scaling_class(pa)):
            raise NotLeadingError


def _require_labels(pa: PodAutoscaler) -> None:
    """As upstream: a PodAutoscaler that no Revision made is not decided for."""
    for label in (CONFIGURATION_LABEL, REVISION_LABEL):
        if not pa.metadata.labels.get(label):
            raise ReconcileError(f"label {label} of PodAutoscaler {pa.metadata.name} is missing or empty")


def _sks_ready(sks: ServerlessService) -> bool:
    observed = sks.status.observed_generation == sks.metadata.generation
    return observed and is_true(sks.status.conditions, "Ready")


def _sks_message(sks: ServerlessService) -> str:
    ready = condition(sks.status.conditions, "Ready")
    return ready.message if ready is not None else ""


def _proxied_for_s(sks: ServerlessService, now: float) -> float:
    """Since when activators are surely the endpoints of the public Service."""
    found = condition(sks.status.conditions, "ActivatorEndpointsPopulated")
    if found is None or found.status != "True" or found.last_transition_time is None:
        return 0.0
    return now - found.last_transition_time.timestamp()
