"""A whole replica of the autoscaler on a loopback address of its own, against a fake API server."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Mapping, Sequence

from hasgpu.autoscaler.buckets import STATS_PORT
from hasgpu.autoscaler.process import Identity, Process
from hasgpu.autoscaler.scaling_class import UNKNOWN, Wanted
from hasgpu.autoscaler.surroundings import Surroundings
from hasgpu.cluster.knative import PodAutoscaler
from hasgpu.cluster.paths import LEASES, named
from hasgpu.model.decider import DeciderSpec
from hasgpu.model.keys import RevisionKey
from hasgpu.model.load import StatMessage
from hasgpu.stats.wire import encode_frame
from hasgpu.telemetry.cloudevents import CloudEvents
from websockets.asyncio.client import connect

from tests.autoscaler.stage import NAME, NS
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

    def tick(self, now: float) -> float:
        """Decides nothing."""
        return 1.0

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


def loopback_block() -> str:
    """The first three numbers of addresses that no other test uses."""
    return f"127.{random.randint(11, 254)}.{random.randint(0, 254)}"


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
