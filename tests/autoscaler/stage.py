"""One revision on a fake API server, as Knative's controller leaves it, and a reconciler with everything real."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from hasgpu.autoscaler.pod_index import PodIndex
from hasgpu.autoscaler.reconciler import Caches, Edges, Reconciler
from hasgpu.autoscaler.scaling_class import Wanted
from hasgpu.cluster.knative import Metric, PodAutoscaler, ServerlessService
from hasgpu.cluster.objects import Deployment, Pod
from hasgpu.cluster.paths import (
    DEPLOYMENTS,
    METRICS,
    POD_AUTOSCALERS,
    PODS,
    SERVERLESS_SERVICES,
    Kind,
    collection,
    named,
)
from hasgpu.cluster.reflector import Reflector
from hasgpu.model.decider import DeciderSpec
from hasgpu.model.keys import RevisionKey
from hasgpu.settings.store import ConfigStore

from tests.cluster.fake_api import FakeApi

NOW = 1_790_000_000.0
NS, NAME = "ns", "hello-00001"
KEY = RevisionKey(NS, NAME)
LABELS = {"serving.knative.dev/configuration": "hello", "serving.knative.dev/revision": NAME}


def stamp(ago_s: float) -> str:
    return datetime.fromtimestamp(NOW - ago_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def conditions(ago_s: float = 100, **statuses: str) -> list[dict[str, Any]]:
    """``Active="True"``, or with a reason and message: ``Active="False NoTraffic The target ..."``."""
    made = []
    for name, text in sorted(statuses.items()):
        status, _, rest = text.partition(" ")
        reason, _, message = rest.partition(" ")
        each = {"type": name, "status": status, "lastTransitionTime": stamp(ago_s)}
        made.append(each | {k: v for k, v in (("reason", reason), ("message", message)) if v})
    return made


ACTIVE = {"Active": "True", "Ready": "True", "SKSReady": "True", "ScaleTargetInitialized": "True"}
INACTIVE = ACTIVE | {
    "Active": "False NoTraffic The target is not receiving traffic.",
    "Ready": "False NoTraffic The target is not receiving traffic.",
}


class Wishing:
    """A scaling class that wants what it is told to."""

    activation_times_out = True
    scrapes = True

    def __init__(self) -> None:
        self.wish = Wanted(pods=1, excess_burst_capacity=-1)
        self.spec: DeciderSpec | None = None
        self.forgotten: list[RevisionKey] = []

    def wanted(self, pa: PodAutoscaler, spec: DeciderSpec, now: float) -> Wanted:
        self.spec = spec
        return self.wish

    def forget(self, key: RevisionKey) -> None:
        self.forgotten.append(key)


class Stage:
    """Set the scene, ``reconcile``, look at what is there now and what was written."""

    def __init__(self, api: FakeApi) -> None:
        self.api, self.session = api, api.session()
        self.settings = ConfigStore()
        self.kpa, self.has = Wishing(), Wishing()
        self.leading: bool | None = True
        """Of both classes; None is doubt."""
        self.lost_after: str | None = None
        """Nobody knows who leads once a request of this method and kind was made: ``PATCH deployments``."""
        self.meanwhile: Callable[[], object] = lambda: None
        """What others do between our reading and each of our writes."""
        self.activator = True
        self.rechecks: list[float] = []
        self.scaled: list[tuple[int, int]] = []
        self.failures: list[Exception] = []
        self.index = PodIndex()
        self._pods = 0

    def pa(self, status: dict[str, Any] | None = None, annotations: dict[str, str] | None = None, **spec: Any) -> None:
        target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": f"{NAME}-deployment"}
        body: dict[str, Any] = {
            "metadata": {"name": NAME, "labels": LABELS, "annotations": annotations or {}, "uid": "pa-uid"},
            "spec": {"scaleTargetRef": target, "protocolType": "http1", "reachability": "Reachable", **spec},
        }
        if status is not None:
            known = {"observedGeneration": 1, "serviceName": NAME, "metricsServiceName": f"{NAME}-private"}
            body["status"] = {**known, "desiredScale": 1, "actualScale": 1, **status}
        self.api.create(collection(POD_AUTOSCALERS, NS), body)

    def deployment(self, replicas: int) -> None:
        metadata = {"name": f"{NAME}-deployment", "labels": LABELS}
        self.api.create(collection(DEPLOYMENTS, NS), {"metadata": metadata, "spec": {"replicas": replicas}})

    def sks(
        self,
        mode: str = "Proxy",
        activators: int = 3,
        ready: bool = True,
        proxied_s: float | None = None,
        uid: str = "pa-uid",
    ) -> None:
        owner = {"apiVersion": "v1", "kind": "PodAutoscaler", "name": NAME, "uid": uid, "controller": True}
        target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": f"{NAME}-deployment"}
        spec = {"mode": mode, "objectRef": target, "protocolType": "http1", "numActivators": activators}
        known = conditions(Ready="True" if ready else "Unknown NoHealthyBackends K8s Service is not ready")
        if proxied_s is not None:
            known += conditions(proxied_s, ActivatorEndpointsPopulated="True")
        status = {"serviceName": NAME, "privateServiceName": f"{NAME}-private", "observedGeneration": 1}
        body = {"metadata": {"name": NAME, "ownerReferences": [owner]}, "spec": spec}
        self.api.create(collection(SERVERLESS_SERVICES, NS), {**body, "status": {**status, "conditions": known}})

    def pods(self, ready: int = 0, pending: int = 0) -> None:
        for phase, each in [("Running", "True")] * ready + [("Pending", "False")] * pending:
            self._pods += 1
            status = {"phase": phase, "conditions": [{"type": "Ready", "status": each}]}
            metadata = {"name": f"pod-{self._pods}", "labels": LABELS}
            self.api.create(collection(PODS, NS), {"metadata": metadata, "status": status})

    def reconcile(self, now: float = NOW) -> None:
        """One pass over copies that are up to date."""
        made = self._caches()
        reflectors = [made.podautoscalers, made.sks, made.metrics, made.deployments]
        reflectors.append(Reflector(self.session, collection(PODS), Pod, on_event=self._on_pod))
        for reflector in reflectors:
            reflector.start()
        assert all(reflector.wait_synced(5) for reflector in reflectors)
        self.api.requests.clear()
        classes = {"kpa.autoscaling.knative.dev": self.kpa, "has.autoscaling.hasgpu.dev": self.has}
        try:
            Reconciler(self.session, made, self.settings, classes, self._edges()).reconcile(KEY, now)
        finally:
            for reflector in reflectors:
                reflector.stop()

    def written(self) -> list[str]:
        """The writes of the last pass, e.g. ``PATCH podautoscalers/hello-00001/status``."""
        return [
            f"{method} {'/'.join(path.split('/namespaces/ns/')[-1].split('/'))}"
            for method, path, _ in self.api.requests
            if method != "GET"
        ]

    def now(self, kind: Kind, name: str = NAME) -> dict[str, Any]:
        found = self.api.get(named(kind, NS, name))
        assert found is not None
        return found

    @property
    def status(self) -> dict[str, Any]:
        status = self.now(POD_AUTOSCALERS)["status"]
        assert isinstance(status, dict)
        return status

    def condition(self, type: str) -> tuple[str, str]:
        (found,) = (each for each in self.status["conditions"] if each["type"] == type)
        return found["status"], found.get("reason", "")

    @property
    def replicas(self) -> int:
        return int(self.now(DEPLOYMENTS, f"{NAME}-deployment")["spec"]["replicas"])

    def _on_pod(self, kind: Any, old: Pod | None, new: Pod | None) -> None:
        self.index.on_event(kind, old, new)

    def _leads(self) -> bool | None:
        self.meanwhile()
        lost = self.lost_after is not None and any(each.startswith(self.lost_after) for each in self.written())
        return None if lost else self.leading

    def _caches(self) -> Caches:
        return Caches(
            podautoscalers=Reflector(self.session, collection(POD_AUTOSCALERS), PodAutoscaler),
            sks=Reflector(self.session, collection(SERVERLESS_SERVICES), ServerlessService),
            metrics=Reflector(self.session, collection(METRICS), Metric),
            deployments=Reflector(self.session, collection(DEPLOYMENTS), Deployment),
            pods=self.index,
        )

    def _edges(self) -> Edges:
        return Edges(
            leads=lambda key, scaling_class: self._leads(),
            activator_answers=lambda pa: self.activator,
            recheck=lambda key, delay_s: self.rechecks.append(delay_s),
            scaled=lambda pa, before, after: self.scaled.append((before, after)),
            failed=lambda pa, error: self.failures.append(error),
        )


@contextmanager
def stage() -> Iterator[Stage]:
    with FakeApi() as api:
        yield Stage(api)
