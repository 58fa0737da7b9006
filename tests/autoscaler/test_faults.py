"""What breaks around a replica breaks nothing else: no pod is added or taken because something is missing."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest
from hasgpu.cluster.paths import CONFIG_MAPS, LEASES, METRICS, PODS, collection, named
from hasgpu.decision.kpa import TICK_S
from hasgpu.stats.wire import encode_frame
from websockets.asyncio.client import connect

from tests.autoscaler.replica import BUCKET, SYSTEM, UNLIMITED, Replica, holder, loopback_block, push, stat, until
from tests.autoscaler.stage import ACTIVE, LABELS, NAME, NS, Stage, conditions
from tests.cluster.fake_api import FakeApi


@pytest.fixture
def api() -> Iterator[FakeApi]:
    with FakeApi() as made:
        quick = {"lease-duration": "1s", "renew-deadline": "900ms", "retry-period": "100ms"}
        metadata = {"name": "config-leader-election", "namespace": SYSTEM}
        made.create(collection(CONFIG_MAPS, SYSTEM), {"metadata": metadata, "data": quick})
        yield made


@pytest.fixture
def replica(api: FakeApi) -> Iterator[Replica]:
    made = Replica(api, "autoscaler-a", f"{loopback_block()}.2")
    until(lambda: holder(api, BUCKET) == made.holder)
    yield made
    made.process.stop()


@pytest.fixture
def on(api: FakeApi, replica: Replica) -> Stage:
    """A revision with one pod that only activators report."""
    made = Stage(api)
    made.sks()
    made.deployment(1)
    made.pods(ready=1)
    made.pa({"conditions": conditions(**ACTIVE)}, UNLIMITED)
    return made


def scales(replica: Replica, on: Stage) -> None:
    """Load still becomes pods."""
    before = on.replicas
    asyncio.run(push(replica, stat(300 * before), lambda: on.replicas > before))


def test_garbage_between_reports_is_skipped_and_the_connection_stays(replica: Replica, on: Stage) -> None:
    async def speak() -> None:
        async with asyncio.timeout(10), connect(replica.url, proxy=None) as activator:
            while on.replicas == 1:
                for frame in ("text", b"\xff" * 100, b"", encode_frame([stat(float("nan"))])):
                    await activator.send(frame)
                await activator.send(encode_frame([stat(250)]))
                await asyncio.sleep(0.1)

    asyncio.run(speak())


def test_twenty_thousand_reports_a_second_of_others_do_not_hold_a_revision_back(replica: Replica, on: Stage) -> None:
    crowd = encode_frame(stat(1, f"other-{n}") for n in range(20_000))

    async def speak() -> None:
        async with asyncio.timeout(10), connect(replica.url, proxy=None) as activator:
            while on.replicas == 1:
                await activator.send(crowd)
                await activator.send(encode_frame([stat(250)]))
                await asyncio.sleep(1.0)

    asyncio.run(speak())


def test_while_the_api_server_is_away_nothing_scales_and_afterwards_it_does(
    api: FakeApi, replica: Replica, on: Stage
) -> None:
    until(lambda: bool(metric_condition(api)))
    api.freeze()
    time.sleep(2.2)  # past a tick and the Lease's deadline
    api.thaw()
    assert on.replicas == 1
    until(lambda: holder(api, BUCKET) == replica.holder)
    scales(replica, on)


def test_a_surge_that_came_while_the_api_server_was_away_is_answered_as_soon_as_it_is_back(
    api: FakeApi, replica: Replica, on: Stage
) -> None:
    """Who led before and leads again has forgotten nothing: no new revision's first tick has to be waited for."""
    scales(replica, on)
    before, thawed_at = on.replicas, float("inf")

    def back() -> bool:
        nonlocal thawed_at
        if api.frozen and time.monotonic() >= frozen_at + 3.0:  # the Lease's deadline, then a tick
            api.thaw()
            thawed_at = time.monotonic()
        return on.replicas > before

    api.freeze()
    frozen_at = time.monotonic()
    asyncio.run(push(replica, stat(300 * before), back))
    assert time.monotonic() - thawed_at < TICK_S


def test_after_410_the_world_is_listed_again_and_scaling_goes_on(api: FakeApi, replica: Replica, on: Stage) -> None:
    api.compact()
    scales(replica, on)


def test_who_lost_the_lease_writes_nothing_until_it_is_expired(api: FakeApi, replica: Replica, on: Stage) -> None:
    scales(replica, on)
    stolen = {"spec": {"holderIdentity": "other_127.0.0.9", "leaseTransitions": 7}}
    api.merge(named(LEASES, SYSTEM, BUCKET), stolen)
    lost_at, before = time.monotonic(), on.replicas
    until(lambda: "other" in holder(api, BUCKET))
    time.sleep(0.3)  # a few of the elector's periods
    since = len(api.requests)
    with pytest.raises((TimeoutError, AssertionError)):
        asyncio.run(asyncio.wait_for(push(replica, stat(3000), lambda: on.replicas != before), 0.5))
    written = [f"{verb} {path}" for verb, path, _ in api.requests[since:] if verb in ("PATCH", "PUT", "POST")]
    assert [each for each in written if "leases" not in each and "events" not in each] == []
    until(lambda: holder(api, BUCKET) == replica.holder)
    assert time.monotonic() - lost_at >= 1.0
    scales(replica, on)


def test_two_candidates_for_one_lease_never_act_at_a_time(api: FakeApi, replica: Replica, on: Stage) -> None:
    rival = Replica(api, "autoscaler-b", f"{loopback_block()}.3")
    try:
        overlaps = []
        for _ in range(50):
            overlaps.append(leads(replica) and leads(rival))
            time.sleep(0.01)
        replica.process.stop()
        for _ in range(50):
            overlaps.append(leads(replica) and leads(rival))
            time.sleep(0.01)
        assert not any(overlaps)
        until(lambda: leads(rival))
        scales(rival, on)
    finally:
        rival.process.stop()


def leads(replica: Replica) -> bool:
    return replica.process._leadership.holds(BUCKET)


LIES = {
    "huge body": b"HTTP/1.1 200 OK\r\nContent-Type: application/protobuf\r\nContent-Length: 100000000\r\n\r\n",
    "wrong type": b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 0\r\n\r\n",
    "not HTTP": b"\x00\x01\x02\x03\r\n\r\n",
    "NaN": b"HTTP/1.1 200 OK\r\nContent-Type: application/protobuf\r\nContent-Length: 9\r\n\r\n"
    b"\x11\x00\x00\x00\x00\x00\x00\xf8\x7f",
    "hangs up": b"",
}


@contextmanager
def queue_proxy(ip: str, answer: bytes) -> Iterator[None]:
    with closing(socket.create_server((ip, 9090))) as server:
        server.settimeout(0.1)
        done = threading.Event()

        def serve() -> None:
            while not done.is_set():
                try:
                    connection, _ = server.accept()
                except TimeoutError:
                    continue
                with closing(connection):
                    connection.recv(4096)
                    connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()


@pytest.mark.parametrize("lie", LIES)
def test_queue_proxies_that_lie_scale_nothing_and_the_metric_says_so(api: FakeApi, replica: Replica, lie: str) -> None:
    ip = f"{loopback_block()}.7"
    on = Stage(api)
    on.sks()
    on.deployment(3)
    on.pa({"conditions": conditions(**ACTIVE), "desiredScale": 3})
    ready = {"phase": "Running", "podIP": ip, "conditions": [{"type": "Ready", "status": "True"}]}
    with queue_proxy(ip, LIES[lie]):
        api.create(collection(PODS, NS), {"metadata": {"name": "p", "labels": LABELS}, "spec": {}, "status": ready})
        until(lambda: metric_condition(api).get("reason") == "CollectionFailed")
    assert on.replicas == 3


def metric_condition(api: FakeApi) -> dict[str, Any]:
    found = api.get(named(METRICS, NS, NAME)) or {}
    return dict(next(iter(found.get("status", {}).get("conditions", [])), {}))
