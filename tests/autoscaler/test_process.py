"""Two whole replicas against one API server: stats find the leader, load becomes replicas, leadership moves on."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import pytest
from hasgpu.autoscaler.buckets import STATS_PORT
from hasgpu.autoscaler.process import Identity, Process
from hasgpu.autoscaler.scaling_class import UNKNOWN, Wanted
from hasgpu.autoscaler.surroundings import Surroundings
from hasgpu.cluster.knative import PodAutoscaler
from hasgpu.cluster.paths import CONFIG_MAPS, DEPLOYMENTS, LEASES, METRICS, PODS, collection, named
from hasgpu.model.decider import DeciderSpec
from hasgpu.model.keys import RevisionKey
from hasgpu.model.load import StatMessage
from hasgpu.stats.wire import encode_frame
from hasgpu.telemetry.cloudevents import CloudEvents
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from tests.autoscaler.stage import ACTIVE, NAME, NS, Stage, conditions
from tests.cluster.fake_api import FakeApi

SYSTEM = "knative-serving"
BUCKET = "autoscaler-bucket-00-of-01"
HAS = {"autoscaling.knative.dev/class": "has.autoscaling.hasgpu.dev"}
UNLIMITED = {"autoscaling.knative.dev/target-burst-capacity": "-1"}


class Listening:
    """A GPU class that only takes note."""

    activation_times_out = False
    scrapes = False

    def __init__(self, surroundings: Surroundings) -> None:
        self.surroundings = surroundings
        self.stats: list[StatMessage] = []
        self.leading = False

    def wanted(self, pa: PodAutoscaler, spec: DeciderSpec, now: float) -> Wanted:
        return UNKNOWN

    def forget(self, key: RevisionKey) -> None:
        """Nothing is kept."""

    def lead(self, leading: bool, now: float) -> None:
        self.leading = leading

    def on_stats(self, messages: Sequence[StatMessage], now: float) -> None:
        self.stats.extend(messages)

    def tick(self, now: float) -> None:
        """Decides nothing."""

    def scaled(self, key: RevisionKey, before: int, after: int) -> None:
        """Nothing is told."""

    def metrics(self) -> Sequence[tuple[str, Mapping[str, str], float]]:
        return ()


class Replica:
    """A process on a loopback address of its own, so that replicas reach each other on the port that is fixed."""

    def __init__(self, api: FakeApi, name: str, ip: str) -> None:
        self.gpu: Listening | None = None
        identity = Identity(pod_name=name, pod_ip=ip, namespace=SYSTEM, domain="cluster.local", host=ip)
        self.holder, self.url = f"{name}_{ip}", f"ws://{ip}:{STATS_PORT}"
        self.process = Process(api.session(), identity, CloudEvents(""), self._make)
        self.process.start()

    def _make(self, surroundings: Surroundings) -> Listening:
        self.gpu = Listening(surroundings)
        return self.gpu


@pytest.fixture
def api() -> Iterator[FakeApi]:
    with FakeApi() as made:
        quick = {"lease-duration": "4s", "renew-deadline": "3s", "retry-period": "100ms"}
        metadata = {"name": "config-leader-election", "namespace": SYSTEM}
        made.create(collection(CONFIG_MAPS, SYSTEM), {"metadata": metadata, "data": quick})
        yield made


@pytest.fixture
def replicas(api: FakeApi) -> Iterator[tuple[Replica, Replica]]:
    block = f"127.{random.randint(1, 254)}.{random.randint(0, 254)}"
    first = Replica(api, "autoscaler-a", f"{block}.2")
    until(lambda: holder(api, BUCKET) == first.holder and holder(api, "hasgpu-allocator") == first.holder)
    second = Replica(api, "autoscaler-b", f"{block}.3")
    yield first, second
    for each in (first, second):
        each.process.stop()


def holder(api: FakeApi, lease: str) -> str:
    found = api.get(named(LEASES, SYSTEM, lease))
    return str(found["spec"].get("holderIdentity", "")) if found is not None else ""


def until(holds: Callable[[], bool], timeout_s: float = 10.0) -> None:
    end = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < end, "it did not come about in time"
        time.sleep(0.02)


def stat(concurrency: float, name: str = NAME) -> StatMessage:
    return StatMessage(
        key=RevisionKey(NS, name), pod_name="activator", average_concurrent_requests=concurrency,
        average_proxied_concurrent_requests=0, request_count=concurrency, proxied_request_count=0,
        process_uptime_s=0, timestamp_s=0,
    )  # fmt: skip


async def push(replica: Replica, message: StatMessage, enough: Callable[[], bool]) -> None:
    """As an activator: once in a while, until something comes of it."""
    async with asyncio.timeout(10), connect(replica.url, proxy=None) as activator:
        while not enough():
            await activator.send(encode_frame([message]))
            await asyncio.sleep(0.1)


def test_load_told_to_the_replica_that_does_not_lead_becomes_pods(
    api: FakeApi, replicas: tuple[Replica, Replica]
) -> None:
    on = Stage(api)
    on.sks()
    on.deployment(1)
    on.pods(ready=1)
    on.pa({"conditions": conditions(**ACTIVE)}, UNLIMITED)
    asyncio.run(push(replicas[1], stat(250), lambda: on.replicas > 1))
    # 25 ten times a second add up to 2500 within each second, as reports of several activators do.
    assert on.replicas > 3
    until(lambda: on.now(METRICS).get("status", {}).get("conditions", [{}])[0].get("status") == "True")


def test_load_of_class_has_reaches_the_allocator_alone(api: FakeApi, replicas: tuple[Replica, Replica]) -> None:
    on = Stage(api)
    on.sks()
    on.deployment(1)
    on.pa({"conditions": conditions(**ACTIVE)}, HAS | UNLIMITED)
    first, second = replicas
    assert first.gpu is not None
    assert second.gpu is not None
    until(lambda: api.get(named(DEPLOYMENTS, NS, f"{NAME}-deployment")) is not None)
    asyncio.run(push(second, stat(3), lambda: bool(first.gpu and first.gpu.stats)))
    assert first.gpu.leading
    assert first.gpu.stats[0].timestamp_s > 0
    assert not second.gpu.stats
    assert not second.gpu.leading


def test_a_stopping_leader_sends_activators_away_and_hands_over_at_once(
    api: FakeApi, replicas: tuple[Replica, Replica]
) -> None:
    first, second = replicas

    async def watch() -> int:
        async with connect(first.url, proxy=None) as activator:
            stopped = asyncio.create_task(asyncio.to_thread(first.process.stop))
            try:
                await asyncio.wait_for(activator.recv(), 10)
            except ConnectionClosed as closed:
                await stopped
                return closed.rcvd.code if closed.rcvd is not None else 0
            return 0

    assert asyncio.run(watch()) == 1012
    until(lambda: holder(api, BUCKET) == second.holder, timeout_s=2.0)
    until(lambda: holder(api, "hasgpu-allocator") == second.holder, timeout_s=5.0)


def test_the_allocator_knows_of_an_activator_that_speaks_to_the_other_replica(
    api: FakeApi, replicas: tuple[Replica, Replica]
) -> None:
    first, second = replicas
    ready = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    metadata = {"name": "activator-1", "namespace": SYSTEM, "labels": {"app": "activator"}}
    api.create(collection(PODS, SYSTEM), {"metadata": metadata, "spec": {"containers": []}, "status": ready})
    assert first.gpu is not None
    knows = first.gpu.surroundings.all_connected
    assert not knows(time.time())

    async def speak() -> None:
        async with connect(second.url, proxy=None):
            await asyncio.to_thread(until, lambda: knows(time.time()))

    asyncio.run(speak())
    until(lambda: not knows(time.time()))
