"""Two whole replicas against one API server: stats find the leader, load becomes replicas, leadership moves on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest
from hasgpu.cluster.paths import CONFIG_MAPS, DEPLOYMENTS, METRICS, PODS, collection, named
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from tests.autoscaler.replica import BUCKET, HAS, SYSTEM, UNLIMITED, Replica, holder, loopback_block, push, stat, until
from tests.autoscaler.stage import ACTIVE, NAME, NS, Stage, conditions
from tests.cluster.fake_api import FakeApi


@pytest.fixture
def api() -> Iterator[FakeApi]:
    with FakeApi() as made:
        quick = {"lease-duration": "4s", "renew-deadline": "3s", "retry-period": "100ms"}
        metadata = {"name": "config-leader-election", "namespace": SYSTEM}
        made.create(collection(CONFIG_MAPS, SYSTEM), {"metadata": metadata, "data": quick})
        yield made


@pytest.fixture
def replicas(api: FakeApi) -> Iterator[tuple[Replica, Replica]]:
    block = loopback_block()
    first = Replica(api, "autoscaler-a", f"{block}.2")
    until(lambda: holder(api, BUCKET) == first.holder and holder(api, "hasgpu-allocator") == first.holder)
    second = Replica(api, "autoscaler-b", f"{block}.3")
    yield first, second
    for each in (first, second):
        each.process.stop()


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


def test_who_loses_a_lease_forgets_its_decisions_at_once(api: FakeApi, replicas: tuple[Replica, Replica]) -> None:
    """It may have the Lease again before anything is looked at, and another has decided meanwhile."""
    on = Stage(api)
    on.sks()
    on.deployment(1)
    on.pods(ready=1)
    on.pa({"conditions": conditions(**ACTIVE)}, UNLIMITED)
    first = replicas[0]
    asyncio.run(push(first, stat(250), lambda: on.replicas > 1))
    assert first.process._kpa.results()
    first.process._on_leadership(BUCKET, False)
    assert not first.process._kpa.results()


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
