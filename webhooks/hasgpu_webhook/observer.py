"""What the webhook knows of the cluster, kept by watches, so that no admission asks the API server. Decides nothing."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict

import msgspec
from hasgpu.cluster.custom import Gpu
from hasgpu.cluster.events import EventRecorder, Regarding
from hasgpu.cluster.metadata import Metadata
from hasgpu.cluster.objects import ConfigMap, Deployment, Lease, Namespace
from hasgpu.cluster.paths import CONFIG_MAPS, DEPLOYMENTS, GPUS, LEASES, NAMESPACES, RUNTIME_CLASSES, collection
from hasgpu.cluster.reflector import EventKind, Reflector
from hasgpu.cluster.session import Session
from hasgpu.model.annotations import ALLOCATOR_LEASE
from hasgpu.model.quantity import parse_bytes
from hasgpu.settings.hasgpu import HasgpuSettings
from hasgpu.settings.store import ConfigStore

from .guard import AutoscalerGuard, Sighting
from .surroundings import Injection, Surroundings

log = logging.getLogger(__name__)

AUTOSCALER = "autoscaler"
_ENFORCE = "pod-security.kubernetes.io/enforce"
_FEATURES, _SECURE_DEFAULTS = "config-features", "secure-pod-defaults"


class RuntimeClass(msgspec.Struct, frozen=True, kw_only=True):
    """A RuntimeClass; only its name matters."""

    metadata: Metadata


class Observer:
    """Watches, and takes snapshots. ``look_after`` belongs to one thread, all else to any."""

    def __init__(
        self,
        session: Session,
        knative_namespace: str,
        settings: ConfigStore,
        events: EventRecorder,
        sidecar_image: str,
    ) -> None:
        def one(name: str) -> str:
            return f"metadata.name={name}"

        self._knative_namespace, self._settings, self._events = knative_namespace, settings, events
        self._sidecar_image = sidecar_image
        self._gpus = Reflector(session, collection(GPUS), Gpu)
        self._namespaces = Reflector(session, collection(NAMESPACES), Namespace)
        self._runtime_classes = Reflector(session, collection(RUNTIME_CLASSES), RuntimeClass)
        self._config_maps = Reflector(
            session, collection(CONFIG_MAPS, knative_namespace), ConfigMap, on_event=self._take_config_map
        )
        self._deployments = Reflector(
            session, collection(DEPLOYMENTS, knative_namespace), Deployment, field_selector=one(AUTOSCALER)
        )
        self._leases = Reflector(
            session, collection(LEASES, knative_namespace), Lease, field_selector=one(ALLOCATOR_LEASE)
        )
        self._start = [
            self._gpus.start,
            self._namespaces.start,
            self._runtime_classes.start,
            self._config_maps.start,
            self._deployments.start,
            self._leases.start,
        ]
        self._guard = AutoscalerGuard()
        self._trouble: str | None = None
        self._features: Mapping[str, str] = {}

    def start(self) -> Observer:
        """Begins to watch; returns itself. Nothing waits for the first list: what is not known refuses nothing."""
        for start in self._start:
            start()
        return self

    def wait_settings(self, timeout_s: float) -> bool:
        """Waits for the first list of ConfigMaps; False where it did not come in time."""
        return self._config_maps.wait_synced(timeout_s)

    def surroundings(self, namespace: str) -> Surroundings:
        """What is known now, as an object in ``namespace`` sees it."""
        found = self._namespaces.get("", namespace)
        return Surroundings(
            gpu_memory_bytes=_largest(self._gpus.snapshot()) if self._gpus.synced else None,
            pod_security=found.metadata.labels.get(_ENFORCE) if found is not None else None,
            secure_pod_defaults=self._features.get(_SECURE_DEFAULTS, "disabled"),
            runtime_classes=(
                frozenset(each.metadata.name for each in self._runtime_classes.snapshot())
                if self._runtime_classes.synced
                else None
            ),
            autoscaler_trouble=self._trouble,
        )

    def injection(self) -> Injection:
        """What config-hasgpu says now."""
        return to_injection(self._settings.hasgpu.value, self._sidecar_image)

    def look_after(self, now_s: float) -> str | None:
        """Judges the autoscaler once; tells by an Event when it changes for the worse or the better."""
        if not (self._deployments.synced and self._leases.synced):
            return self._trouble
        deployment = self._deployments.get(self._knative_namespace, AUTOSCALER)
        lease = self._leases.get(self._knative_namespace, ALLOCATOR_LEASE)
        sighting = Sighting(
            service_account=_service_account(deployment) if deployment is not None else None,
            lease=(lease.spec.holder_identity or "", lease.spec.renew_time or "") if lease is not None else None,
        )
        trouble = self._guard.trouble(sighting, now_s)
        if trouble != self._trouble:
            self._tell(deployment, trouble)
            self._trouble = trouble
        return trouble

    def _tell(self, deployment: Deployment | None, trouble: str | None) -> None:
        log.warning("autoscaler: %s", trouble or "in place again")
        about = Regarding.of(
            "apps/v1",
            "Deployment",
            deployment.metadata
            if deployment is not None
            else Metadata(name=AUTOSCALER, namespace=self._knative_namespace),
        )
        if trouble is not None:
            self._events.event(about, "Warning", "AutoscalerNotInPlace", f"GPU services are not scaled: {trouble}")
        else:
            self._events.event(about, "Normal", "AutoscalerInPlace", "GPU services are scaled again")

    def _take_config_map(self, _: EventKind, __: ConfigMap | None, new: ConfigMap | None) -> None:
        """One that was deleted is about to be made anew, and changes nothing."""
        if new is None:
            return
        if new.metadata.name == _FEATURES:
            self._features = new.data
        else:
            self._settings.put(new.metadata.name, new.data)


def to_injection(settings: HasgpuSettings, sidecar_image: str) -> Injection:
    """The settings that matter at admission; ``sidecar_image`` is the release's own."""
    return Injection(
        sidecar_image=settings.sidecar_image or sidecar_image,
        image_pull_policy=settings.image_pull_policy,
        image_pull_secrets=settings.image_pull_secrets,
        runtime_class=settings.runtime_class_name or None,
        tolerations=tuple(
            {name: value for name, value in asdict(toleration).items() if value} for toleration in settings.tolerations
        ),
        progress_deadline=settings.progress_deadline,
    )


def _largest(gpus: tuple[Gpu, ...]) -> dict[str, int]:
    largest: dict[str, int] = {}
    for gpu in gpus:
        try:
            memory_bytes = parse_bytes(gpu.spec.memory)
        except ValueError:
            continue  # the agent's mistake is no reason to refuse a service
        largest[gpu.spec.product] = max(memory_bytes, largest.get(gpu.spec.product, 0))
    return largest


def _service_account(deployment: Deployment) -> str:
    pod = deployment.spec.template.get("spec", {})
    return str(pod.get("serviceAccountName", "")) if isinstance(pod, dict) else ""
