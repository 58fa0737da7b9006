"""Process autoscaler: puts the parts together, starts and stops them in order. Decides nothing itself."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from hasgpu.cluster.errors import NotFound
from hasgpu.cluster.events import EventRecorder, Regarding
from hasgpu.cluster.knative import PodAutoscaler
from hasgpu.cluster.objects import ConfigMap
from hasgpu.cluster.paths import CONFIG_MAPS, named
from hasgpu.cluster.session import Session
from hasgpu.model.annotations import ALLOCATOR_LEASE, HAS_CLASS, KPA_CLASS
from hasgpu.model.keys import RevisionKey
from hasgpu.settings import hasgpu, knative
from hasgpu.settings.store import ConfigStore
from hasgpu.stats.agents import Agents, agent_tls
from hasgpu.stats.server import StatServer
from hasgpu.telemetry.cloudevents import CloudEvents
from hasgpu.telemetry.metrics import Metrics
from hasgpu.telemetry.tracing import Tracing

from .activator_probe import activator_answers, probe_port
from .event_loop import EventLoop
from .gauges import (
    Gauge,
    attributes,
    decision_gauges,
    pod_gauges,
    process_gauges,
    standing_gauges,
    stat_gauges,
    watch_gauges,
    work_gauges,
)
from .gpu_loop import GpuLoop
from .kpa_class import KpaClass
from .leadership import Leadership
from .metric_reconciler import MetricReconciler
from .owned import PA_API_VERSION
from .reconciler import Caches, Edges, Reconciler
from .reporters import Reporters
from .revision_spec import scaling_class
from .scaling_class import GpuClass, ScalingClass
from .scrape_loop import ScrapeLoop
from .stat_router import StatRouter
from .surroundings import AgentReports, Surroundings
from .work_queue import WorkQueue
from .workers import Workers
from .world import Work, World

log = logging.getLogger(__name__)

SERVICE = "hasgpu-autoscaler"
_CLASSES = (KPA_CLASS, HAS_CLASS)
_WORKERS = 8
_METRIC_WORKERS = 2
_TELL_REPORTERS_S = 1.0
_LATE_S = 30.0
"""A replica whose evaluations are due for so long does not recover by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who this replica is and where it listens."""

    pod_name: str
    pod_ip: str
    namespace: str
    domain: str
    host: str = ""
    """Empty: all addresses of the pod's family."""
    port: int = 8080
    tls_folder: Path = Path("/etc/hasgpu/tls")


class Process:
    """One replica of the autoscaler."""

    def __init__(
        self,
        session: Session,
        identity: Identity,
        cloudevents: CloudEvents,
        make_gpu_class: Callable[[Surroundings], GpuClass],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._session, self._identity, self._clock = session, identity, clock
        self._queue: WorkQueue[RevisionKey] = WorkQueue()
        self._metric_queue: WorkQueue[RevisionKey] = WorkQueue()
        self._woken = threading.Event()
        self.settings = ConfigStore(on_change=self._on_settings)
        self._world = World(session, identity.namespace, self._work())
        self._read_settings()
        self._cloudevents = cloudevents
        self._tracing, self._metrics = self._telemetry()
        self._events = EventRecorder(session, SERVICE)
        self._event_loop = EventLoop()
        self._reports = AgentReports(self._woken.set)
        self._agents = Agents(self._reports.put, partial(agent_tls, identity.tls_folder), clock)
        self._kpa = KpaClass(ready_pods=self._ready_pods, on_change=self._queue.add_urgent, clock=clock)
        self._leadership = self._make_leadership()
        self._reporters = self._make_reporters()
        self._gpu = make_gpu_class(self._surroundings())
        self._gpu_loop = GpuLoop(self._gpu, lambda: self._leadership.standing(ALLOCATOR_LEASE), self._woken, clock)
        self._scrapes = ScrapeLoop(
            self._event_loop.loop,
            self._kpa,
            self._world.pod_index,
            on_error_change=self._metric_queue.add,
            on_duration=self._scraped,
            clock=clock,
        )
        self._workers = self._make_workers()
        self._router: StatRouter | None = None
        self._server: StatServer | None = None
        self._telling: asyncio.Task[None] | None = None
        self._stopping = threading.Event()

    def start(self) -> None:
        """Begins to serve; raises TimeoutError where the API server can't be read."""
        self._events.start()
        self._event_loop.start()
        if not self._world.start():
            raise TimeoutError("the API server did not list what serving needs within 60 s")
        self._metrics.observe(lambda: decision_gauges(self._kpa))
        self._metrics.observe(
            lambda: pod_gauges(self._world.podautoscalers.snapshot(), self._world.pod_index, self._acts_for)
        )
        self._metrics.observe(self._own_gauges)
        self._metrics.observe(lambda: process_gauges(self.settings, self._cloudevents))
        self._metrics.observe(self._gpu.metrics)
        self._event_loop.call(self._listen(), timeout_s=10.0)
        threading.Thread(target=self._kpa.run, name="kpa ticks", daemon=True).start()
        self._gpu_loop.start()
        for workers in self._workers:
            workers.start()
        self._leadership.start()
        log.info("serving on port %d as %s", self._identity.port, self._identity.pod_name)

    def stop(self) -> None:
        """Sends activators elsewhere, gives up the Leases, ends; only the first call does."""
        if self._stopping.is_set():
            return
        self._stopping.set()
        try:
            self._event_loop.call(self._hang_up(), timeout_s=10.0)
        except Exception:
            # Whatever a connection brings up, the Leases must be given back: else nobody leads until they run out.
            log.exception("connections not ended")
        self._kpa.stop()
        self._gpu_loop.stop()
        for workers in self._workers:
            workers.stop()
        self._leadership.stop()
        self._world.stop()
        self._events.stop()
        self._cloudevents.stop()
        self._metrics.stop()
        self._tracing.stop()
        self._event_loop.stop()

    def _read_settings(self) -> None:
        """Before anything runs: later changes come by watch.

        Raises SettingsError where one of Knative's can't be used, as upstream ends then: the defaults may scale to zero
        what must not be. Without our own only GPU services are served by defaults, and a log's level harms nobody.
        """
        for name in self.settings.names:
            try:
                path = named(CONFIG_MAPS, self._identity.namespace, name)
                error = self.settings.put(name, self._session.get(path, ConfigMap).data)
            except NotFound:
                log.info("ConfigMap %s is missing: defaults apply", name)
                continue
            if error is not None and name not in (hasgpu.NAME, knative.LOGGING):
                raise error

    def _telemetry(self) -> tuple[Tracing, Metrics]:
        chosen = self.settings.observability.value
        tracing = Tracing.start(
            SERVICE,
            protocol=chosen.tracing_protocol,
            endpoint=chosen.tracing_endpoint,
            sampling_rate=chosen.tracing_sampling_rate,
        )
        metrics = Metrics.start(
            SERVICE,
            protocol=chosen.metrics_protocol,
            endpoint=chosen.metrics_endpoint,
            export_interval_s=chosen.metrics_export_interval_s,
        )
        return tracing, metrics

    def _work(self) -> Work:
        return Work(
            podautoscaler=self._queue.add,
            metric=self._metric_queue.add,
            config_map=self.settings.put,
            gpu_class=self._woken.set,
            gpus=self._follow_agents,
        )

    def _make_leadership(self) -> Leadership:
        return Leadership(
            self._session,
            namespace=self._identity.namespace,
            pod_name=self._identity.pod_name,
            pod_ip=self._identity.pod_ip,
            domain=self._identity.domain,
            election=self.settings.leader_election.value,
            leases=self._world.leases,
            on_change=self._on_leadership,
            clock=self._clock,
        )

    def _make_reporters(self) -> Reporters:
        activators = self._world.activators
        return Reporters(
            RevisionKey(self._identity.namespace, ALLOCATOR_LEASE),
            self._identity.pod_name,
            here=lambda: self._server.connections if self._server is not None else 0,
            activators=lambda: activators.snapshot() if activators.synced else None,
        )

    def _caches(self) -> Caches:
        world = self._world
        return Caches(
            podautoscalers=world.podautoscalers,
            sks=world.sks,
            metrics=world.metrics,
            deployments=world.deployments,
            pods=world.pod_index,
        )

    def _surroundings(self) -> Surroundings:
        return Surroundings(
            session=self._session,
            settings=self.settings,
            caches=self._caches(),
            pods=self._world.pods,
            pod_index=self._world.pod_index,
            gpus=self._world.gpus,
            profiles=self._world.profiles,
            nodes=self._world.nodes,
            reports=self._reports,
            all_connected=self._reporters.complete,
            still_leading=lambda now: self._leadership.holds(ALLOCATOR_LEASE),
            enqueue=self._queue.add_urgent,
            wake=self._woken.set,
            events=self._events,
            tracing=self._tracing,
            metrics=self._metrics,
            cloudevents=self._cloudevents,
        )

    def _make_workers(self) -> tuple[Workers, Workers]:
        classes: dict[str, ScalingClass] = {KPA_CLASS: self._kpa, HAS_CLASS: self._gpu}
        edges = Edges(
            leads=self._leadership.leads,
            activator_answers=self._activator_answers,
            recheck=self._queue.add_after,
            scaled=self._scaled,
            failed=self._failed,
        )
        reconciler = Reconciler(self._session, self._caches(), self.settings, classes, edges)
        metrics = MetricReconciler(
            self._session,
            self._world.metrics,
            self._kpa,
            leads=lambda key: self._leadership.leads(key, KPA_CLASS),
            scrape_error=self._scrape_error,
            scrape=self._scrapes.want,
        )
        return (
            Workers("reconcile", self._queue, reconciler.reconcile, _WORKERS, self._clock),
            Workers("metric", self._metric_queue, metrics.reconcile, _METRIC_WORKERS, self._clock),
        )

    async def _listen(self) -> None:
        accept = {KPA_CLASS: self._kpa.on_stats, HAS_CLASS: self._gpu_loop.on_stats}
        self._router = StatRouter(
            self._leadership,
            self._world.class_of,
            accept,
            apart={self._reporters.key: lambda message: self._reporters.take(message, self._clock())},
        )
        self._server = StatServer(
            self._router.route,
            owns_bucket=self._leadership.holds,
            is_ready=lambda: self._world.synced,
            is_live=lambda: self._kpa.late_s() < _LATE_S,
            clock=self._clock,
        )
        everywhere = "::" if ":" in self._identity.pod_ip else "0.0.0.0"
        await self._server.start(self._identity.host or everywhere, self._identity.port)
        self._telling = asyncio.get_running_loop().create_task(self._tell_reporters(self._router))

    async def _tell_reporters(self, router: StatRouter) -> None:
        """The allocator must know how many activators speak to it by way of this replica."""
        while True:
            if not self._leadership.holds(ALLOCATOR_LEASE):
                router.forwarder.offer(ALLOCATOR_LEASE, [self._reporters.message(self._clock())])
            await asyncio.sleep(_TELL_REPORTERS_S)

    async def _hang_up(self) -> None:
        if self._telling is not None:
            self._telling.cancel()
        if self._server is not None:
            await self._server.stop()
        if self._router is not None:
            await self._router.forwarder.stop()
        await self._scrapes.stop()
        await self._agents.stop()

    def _on_leadership(self, lease: str, leading: bool) -> None:
        """Everything of the Lease is looked at again: to take it up, or to let go of it."""
        log.info("%s is %s", lease, "ours" if leading else "not ours any more")
        for pa in self._world.podautoscalers.snapshot():
            key = _key(pa)
            if self._leadership.lease_of(key, scaling_class(pa)) == lease:
                if not leading:
                    # At once: if the Lease is ours again before they are looked at, another has decided meanwhile.
                    self._kpa.forget(key)
                    self._kpa.stop_collecting(key)
                self._queue.add(key)
        if lease == ALLOCATOR_LEASE:
            if not leading:
                self._gpu_loop.lost()
            self._woken.set()
            self._follow_agents()
        else:
            for metric in self._world.metrics.snapshot():
                self._metric_queue.add(RevisionKey(metric.metadata.namespace, metric.metadata.name))

    def _on_settings(self, name: str) -> None:
        if name == knative.LOGGING:
            logging.getLogger().setLevel(self.settings.logging.value.level)
            return
        if name == knative.NETWORK and self.settings.network.value.hides_pods:
            log.error(knative.MESH_HIDES_PODS)
        for pa in self._world.podautoscalers.snapshot():
            self._queue.add(_key(pa))

    def _follow_agents(self) -> None:
        """Only the allocator listens to agents."""
        leads = self._leadership.holds(ALLOCATOR_LEASE)
        gpus = self._world.gpus.snapshot() if leads else ()
        self._reports.keep_only({gpu.spec.node for gpu in gpus})
        addresses = {gpu.status.agent_address for gpu in gpus if gpu.status.agent_address}
        self._event_loop.loop.call_soon_threadsafe(self._agents.follow, addresses)

    def _ready_pods(self, key: RevisionKey) -> int:
        return self._world.pod_index.counts(key).ready

    def _acts_for(self, key: RevisionKey, scaling_class: str) -> bool:
        return scaling_class in _CLASSES and bool(self._leadership.leads(key, scaling_class))

    def _own_gauges(self) -> Iterable[Gauge]:
        yield from standing_gauges(self._leadership)
        yield from work_gauges(self._workers, self._kpa)
        yield from watch_gauges(self._world.ages_s(self._clock()))
        if self._router is not None and self._server is not None:
            yield from stat_gauges(self._router.forwarder, self._server)

    def _activator_answers(self, pa: PodAutoscaler) -> bool:
        if not pa.status.service_name:
            return False
        host = f"{pa.status.service_name}.{pa.metadata.namespace}.svc.{self._identity.domain}"
        return activator_answers(host, probe_port(pa.spec.protocol_type))

    def _scaled(self, pa: PodAutoscaler, before: int, after: int) -> None:
        if scaling_class(pa) == HAS_CLASS:
            self._gpu.scaled(_key(pa), before, after)

    def _failed(self, pa: PodAutoscaler, error: Exception) -> None:
        regarding = Regarding.of(PA_API_VERSION, "PodAutoscaler", pa.metadata)
        self._events.event(regarding, "Warning", "InternalError", str(error))

    def _scrape_error(self, key: RevisionKey) -> str | None:
        error = self._scrapes.error(key)
        return f"{error}; {knative.MESH_HIDES_PODS}" if error and self.settings.network.value.hides_pods else error

    def _scraped(self, key: RevisionKey, duration_s: float) -> None:
        if not self._metrics.read:
            return
        pa = self._world.podautoscalers.get(key.namespace, key.name)
        labels = pa.metadata.labels if pa is not None else {}
        self._metrics.record("kn.autoscaler.scrape.duration", duration_s, attributes(key, labels))


def _key(pa: PodAutoscaler) -> RevisionKey:
    return RevisionKey(pa.metadata.namespace, pa.metadata.name)
