"""Capacity tables are dear to make: which are kept, and for how long."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest
from hasgpu.autoscaler.profile_book import ProfileBook
from hasgpu.autoscaler.revision_intents import UNUSED_S, RevisionIntents
from hasgpu.cluster.custom import LatencyProfile
from hasgpu.cluster.paths import LATENCY_PROFILES, collection
from hasgpu.cluster.reflector import Reflector
from hasgpu.decision.policy import Policy
from hasgpu.model.capacity import CapacityTable
from hasgpu.model.gpu import Gpu
from hasgpu.settings.store import ConfigStore

from tests.cluster.fake_api import FakeApi

NAMESPACE = "shop"


class Stage:
    """One profile and two GPU products; time is told."""

    def __init__(self, api: FakeApi) -> None:
        self.profiles = Reflector(api.session(), collection(LATENCY_PROFILES), LatencyProfile)
        self.book = ProfileBook(self.profiles)
        self.intents = RevisionIntents(self.book, ConfigStore())
        self.measure(20.0)

    def measure(self, latency_ms: float) -> None:
        """The profile says so from now on."""
        cells = [{"batch": 1, "sm": sm, "quota": 100, "latencyMs": latency_ms * 100 / sm} for sm in (10, 50, 100)]
        measured = {"gpuProduct": "V", "gate": "gpu-time", "window": "40ms", "cells": cells}
        said = {
            "metadata": {"name": "m", "namespace": NAMESPACE, "uid": "u", "resourceVersion": f"{latency_ms}"},
            "spec": {"memory": "1Gi", "measurements": [measured]},
        }
        self.profiles._objects[NAMESPACE, "m"] = msgspec.json.decode(msgspec.json.encode(said), type=LatencyProfile)

    def tables(self, now: float, **asked: str) -> dict[str, CapacityTable]:
        """What a revision of the profile is decided by."""
        annotations = {"hasgpu.dev/slo-latency": "200ms", "hasgpu.dev/profile": "m"}
        annotations |= {f"hasgpu.dev/{key.replace('_', '-')}": value for key, value in asked.items()}
        read = self.intents.read(NAMESPACE, annotations, {})
        assert read is not None
        return dict(self.intents.wish(read, tuple(map(gpu, ("V", "A"))), Policy(), now).tables)


@pytest.fixture
def stage() -> Iterator[Stage]:
    with FakeApi() as api:
        yield Stage(api)


def gpu(product: str) -> Gpu:
    return Gpu(
        uuid=f"GPU-{product}",
        node="n",
        product=product,
        memory_bytes=1 << 34,
        sm_count=80,
        sm_step=2,
        mps_client_limit=48,
        healthy=True,
        mps_ready=True,
        agent_address="n:1",
    )


def test_a_table_stays_as_long_as_somebody_asks_for_it(stage: Stage) -> None:
    first = stage.tables(0.0)["V"]
    for minute in range(1, 31):
        assert stage.tables(60.0 * minute)["V"] is first


def test_a_leader_that_leads_again_needs_no_new_tables(stage: Stage) -> None:
    first = stage.tables(0.0)["V"]
    stage.book.clear()
    assert stage.tables(1.0)["V"] is first
    assert stage.tables(2.0)["V"] is first


def test_what_nobody_asks_for_is_dropped(stage: Stage) -> None:
    loose = stage.tables(0.0)["V"]
    stage.tables(UNUSED_S, slo_latency="100ms")
    again = stage.tables(UNUSED_S + 1.0)["V"]
    assert again is not loose
    assert again == loose


def test_a_profile_that_was_measured_anew_has_a_table_of_its_own(stage: Stage) -> None:
    before = stage.tables(0.0)["V"]
    stage.measure(40.0)
    assert stage.tables(1.0)["V"].rate(100, 100) < before.rate(100, 100)


def test_no_table_is_made_for_a_product_that_may_not_be_used(stage: Stage) -> None:
    assert set(stage.tables(0.0)) == {"V", "A"}
    assert set(stage.tables(0.0, gpu_product="A")) == {"A"}
