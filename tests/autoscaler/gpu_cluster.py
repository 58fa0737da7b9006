"""A cluster with one GPU node on the fake API server, its agent, and the GPU class that leads it.

The fake ends where the API server and the agent's HTTP end; everything behind them is ours.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from hasgpu.autoscaler.has_class import HasClass
from hasgpu.autoscaler.reconciler import Caches
from hasgpu.autoscaler.surroundings import AgentReports, Surroundings
from hasgpu.autoscaler.world import Work, World
from hasgpu.cluster.events import EventRecorder
from hasgpu.cluster.session import Session
from hasgpu.model.keys import RevisionKey
from hasgpu.model.load import StatMessage
from hasgpu.model.report import NodeReport, PodSliceReport
from hasgpu.settings.store import ConfigStore
from hasgpu.telemetry.cloudevents import CloudEvents
from hasgpu.telemetry.metrics import Metrics
from hasgpu.telemetry.tracing import Tracing
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from tests.cluster.fake_api import FakeApi

PODS = "/api/v1/namespaces/ns/pods"
DEPLOYMENTS = "/apis/apps/v1/namespaces/ns/deployments"
PAS = "/apis/autoscaling.internal.knative.dev/v1alpha1/namespaces/ns/podautoscalers"
GPU = "GPU-a"
GIB = 1 << 30


class GpuCluster:
    """Objects are made through the fake's API; ``settle`` waits until our watches show them."""

    def __init__(self, api: FakeApi) -> None:
        self.api = api
        self.session: Session = api.session()
        self.enqueued: list[RevisionKey] = []
        self.settings = ConfigStore()
        self.world = World(self.session, "knative-serving", _no_work())
        self.reports = AgentReports(lambda: None)
        self.events = EventRecorder(self.session, "test").start()
        self.leading = True
        self.all_connected = True
        self.gpu_class = self.make_class()
        self.made = 0
        self.revision = 0
        self.busy_ns: dict[str, int] = {}

    def make_class(self, reports: AgentReports | None = None) -> HasClass:
        """A leader's GPU class; a second one shares nothing but the cluster."""
        world, self.metrics = self.world, InMemoryMetricReader()
        around = Surroundings(
            session=self.session,
            settings=self.settings,
            caches=Caches(
                podautoscalers=world.podautoscalers,
                sks=world.sks,
                metrics=world.metrics,
                deployments=world.deployments,
                pods=world.pod_index,
            ),
            pods=world.pods,
            pod_index=world.pod_index,
            gpus=world.gpus,
            profiles=world.profiles,
            nodes=world.nodes,
            reports=reports or self.reports,
            all_connected=lambda now: self.all_connected,
            still_leading=lambda now: self.leading,
            enqueue=self.enqueued.append,
            wake=lambda: None,
            events=self.events,
            tracing=Tracing.off(),
            metrics=Metrics("test", [self.metrics]),
            cloudevents=CloudEvents(""),
        )
        return HasClass(around)

    def add_node(self, memory: str = "16Gi") -> None:
        labels = {"kubernetes.io/hostname": "host-1", "hasgpu.dev/enabled": "true"}
        ready = {"type": "Ready", "status": "True"}
        self.api.create(
            "/api/v1/nodes", {"metadata": {"name": "node-1", "labels": labels}, "status": {"conditions": [ready]}}
        )
        self.add_gpu("gpu-a", GPU, memory)

    def add_gpu(self, name: str, uuid: str, memory: str = "16Gi") -> None:
        """Another GPU of the node."""
        conditions = [{"type": "Healthy", "status": "True"}, {"type": "MPSReady", "status": "True"}]
        self.api.create(
            "/apis/hasgpu.dev/v1alpha1/gpus",
            {
                "metadata": {"name": name},
                "spec": {
                    "node": "node-1",
                    "uuid": uuid,
                    "product": "Emulated-V100",
                    "memory": memory,
                    "smCount": 80,
                    "smStep": 2,
                },
                "status": {"conditions": conditions, "agentAddress": "10.0.0.1:9444"},
            },
        )

    def add_profile(self, name: str = "resnet50", latency_ms: float = 20.0) -> None:
        cells = [
            {"batch": 1, "sm": sm, "quota": 100, "latencyMs": latency_ms * max(1.0, 20 / sm)}
            for sm in (5, 10, 20, 50, 100)
        ]
        measurement = {"gpuProduct": "Emulated-V100", "gate": "gpu-time", "window": "40ms", "cells": cells}
        self.api.create(
            "/apis/hasgpu.dev/v1alpha1/namespaces/ns/latencyprofiles",
            {"metadata": {"name": name, "namespace": "ns"}, "spec": {"memory": "1Gi", "measurements": [measurement]}},
        )

    def add_revision(
        self, name: str = "classify-00001", replicas: int = 1, annotations: Mapping[str, str] | None = None
    ) -> RevisionKey:
        service = name.rsplit("-", 1)[0]
        meta = {
            "name": name,
            "namespace": "ns",
            "labels": _labels(name, service),
            "annotations": {
                "autoscaling.knative.dev/class": "has.autoscaling.hasgpu.dev",
                "autoscaling.knative.dev/target-burst-capacity": "-1",
                **_annotations(annotations or {}),
            },
        }
        target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": f"{name}-deployment"}
        self.api.create(PAS, {"metadata": meta, "spec": {"scaleTargetRef": target, "reachability": "Reachable"}})
        self.api.create(
            DEPLOYMENTS,
            {
                "metadata": {"name": f"{name}-deployment", "namespace": "ns", "labels": _labels(name, service)},
                "spec": {"replicas": replicas},
            },
        )
        return RevisionKey("ns", name)

    def add_pod(self, revision: str = "classify-00001", **annotations: str) -> str:
        self.made += 1
        name = f"{revision}-pod-{self.made}"
        self.api.create(
            PODS,
            {
                "metadata": {
                    "name": name,
                    "namespace": "ns",
                    "labels": _labels(revision, revision.rsplit("-", 1)[0]),
                    "annotations": _annotations(annotations),
                },
                "spec": {"schedulingGates": [{"name": "hasgpu.dev/slice"}], "containers": []},
                "status": {"phase": "Pending"},
            },
        )
        return name

    def pod(self, name: str) -> dict[str, Any]:
        found = self.api.get(f"{PODS}/{name}")
        assert found is not None
        return found

    def slice_of(self, name: str) -> dict[str, str]:
        """The pod's slice annotations, without their prefix."""
        annotations = self.pod(name)["metadata"].get("annotations", {})
        prefix = "slice.hasgpu.dev/"
        return {key.removeprefix(prefix): value for key, value in annotations.items() if key.startswith(prefix)}

    def quota(self, name: str) -> int:
        return int(self.slice_of(name)["time-quota"])

    def ready(self, name: str) -> None:
        conditions = [{"type": "Ready", "status": "True"}]
        status = {"phase": "Running", "conditions": conditions}
        self.api.merge(f"{PODS}/{name}", {"spec": {"nodeName": "node-1"}, "status": status})

    def acknowledge(self, now: float, *, alive: Callable[[str], bool] = lambda name: True) -> None:
        """The agent lays what is written and reports it."""
        self.revision += 1
        pods = [each for each in self.api.list(PODS) if "slice.hasgpu.dev/gpu" in each["metadata"]["annotations"]]
        self.reports.put(
            NodeReport(
                node="node-1",
                revision=self.revision,
                pods=tuple(self._report(each, alive(each["metadata"]["name"])) for each in pods),
            ),
            now,
        )

    def hear_nothing_new(self, now: float) -> None:
        """The agent answers, but has not laid what was written since."""
        report = self.reports.snapshot().get("node-1")
        self.reports.put(report[0] if report else NodeReport(node="node-1", revision=0, pods=()), now)

    def load(self, revision: RevisionKey, requests: float, in_flight: float = 0.0) -> list[StatMessage]:
        return [
            StatMessage(
                key=revision,
                pod_name="activator-1",
                average_concurrent_requests=in_flight,
                average_proxied_concurrent_requests=0.0,
                request_count=requests,
                proxied_request_count=0.0,
                process_uptime_s=0.0,
                timestamp_s=0.0,
            )
        ]

    def tick(self, now: float) -> None:
        """A pass over copies that are up to date."""
        self.settle()
        while self.gpu_class.tick(now) <= 0.0:
            """There is more to do."""

    def serving(self, now: float = 10.0, **annotations: str) -> tuple[RevisionKey, str]:
        """A revision with one ready pod whose slice is live."""
        revision = self.add_revision(annotations=annotations)
        pod = self.add_pod(**annotations)
        self.acknowledge(now)
        self.tick(now)
        self.ready(pod)
        self.acknowledge(now)
        return revision, pod

    def loaded(self, revision: RevisionKey, rate: float, start: float, seconds: int = 5) -> float:
        """Seconds of load, each followed by a tick and the agent's acknowledgement; the time after it."""
        for second in range(seconds):
            now = start + second
            self.gpu_class.on_stats(self.load(revision, rate), now)
            self.tick(now)
            self.acknowledge(now)
        return start + seconds

    def wanted(self, revision: RevisionKey) -> int:
        """Pods that the class asks for."""
        return self.gpu_class._wanted[revision]

    def settle(self) -> None:
        """Waits until our copies are what the API server has."""
        pairs = (
            (self.world.pods, PODS),
            (self.world.deployments, DEPLOYMENTS),
            (self.world.podautoscalers, PAS),
            (self.world.gpus, "/apis/hasgpu.dev/v1alpha1/gpus"),
            (self.world.nodes, "/api/v1/nodes"),
            (self.world.profiles, "/apis/hasgpu.dev/v1alpha1/namespaces/ns/latencyprofiles"),
        )
        end = time.monotonic() + 5.0
        while time.monotonic() < end:
            if all(_versions(reflector.snapshot()) == _there(self.api.list(path)) for reflector, path in pairs):
                return
            time.sleep(0.005)
        raise TimeoutError("the watches did not catch up")

    def gauges(self, prefix: str) -> set[str]:
        """Names of the instruments that have a value of the last class."""
        data = self.metrics.get_metrics_data()
        scopes = [scope for each in data.resource_metrics for scope in each.scope_metrics] if data is not None else []
        shown = [metric for scope in scopes for metric in scope.metrics if metric.data.data_points]
        return {metric.name for metric in shown if metric.name.startswith(prefix)}

    def told(self) -> list[str]:
        """Reasons of the Events so far."""
        return [reason for reason, _ in self.told_words()]

    def told_words(self) -> list[tuple[str, str]]:
        """Reason and message of the Events so far."""
        assert self.events.flush(5.0)
        return [(event["reason"], event["message"]) for event in self.api.list("/api/v1/namespaces/ns/events")]

    def _report(self, pod: dict[str, Any], alive: bool) -> PodSliceReport:
        meta = pod["metadata"]
        notes = meta["annotations"]
        return PodSliceReport(
            pod_uid=meta["uid"],
            namespace="ns",
            name=meta["name"],
            gpu_uuid=notes["slice.hasgpu.dev/gpu"],
            generation=int(notes["slice.hasgpu.dev/generation"]),
            quota_percent=int(notes["slice.hasgpu.dev/time-quota"]),
            processes=1,
            busy_ns=self.busy_ns.get(meta["name"], 0),
            gated_ns=0,
            debt_ns=0,
            launches=self.busy_ns.get(meta["name"], 0) // 1_000_000,
            waiting=0,
            memory_bytes=GIB,
            sm_count=16,
            alive=alive,
            row=int(notes["slice.hasgpu.dev/row"]),
            sm_percent=int(notes["slice.hasgpu.dev/sm-partition"]),
        )


@contextmanager
def gpu_cluster() -> Iterator[GpuCluster]:
    """A cluster whose watches run; the class has just won the Lease."""
    with FakeApi() as api:
        cluster = GpuCluster(api)
        assert cluster.world.start()
        cluster.gpu_class.lead(True, 0.0)
        try:
            yield cluster
        finally:
            cluster.world.stop()
            cluster.events.stop()


def _labels(revision: str, service: str) -> dict[str, str]:
    return {
        "serving.knative.dev/revision": revision,
        "serving.knative.dev/service": service,
        "serving.knative.dev/configuration": service,
        "serving.knative.dev/revisionUID": f"uid-{revision}",
    }


def _annotations(annotations: Mapping[str, str]) -> dict[str, str]:
    defaults = {"slo_latency": "200ms", "profile": "resnet50", "sm_partition": "20%"}
    return {f"hasgpu.dev/{key.replace('_', '-')}": value for key, value in {**defaults, **annotations}.items()}


def _versions(objects: tuple[Any, ...]) -> dict[str, str]:
    return {each.metadata.name: each.metadata.resource_version for each in objects}


def _there(objects: list[dict[str, Any]]) -> dict[str, str]:
    return {each["metadata"]["name"]: each["metadata"]["resourceVersion"] for each in objects}


def _no_work() -> Work:
    return Work(
        podautoscaler=lambda key: None,
        metric=lambda key: None,
        config_map=lambda name, data: None,
        gpu_class=lambda: None,
        gpus=lambda: None,
    )
