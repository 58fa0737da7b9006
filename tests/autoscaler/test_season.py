"""Two days of a load, recorded by leaders that change, become a season; on the third pods are there before the load."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from hasgpu.autoscaler.profile_fitting import ProfileFitting
from hasgpu.cli.explain import decisions, tree
from hasgpu.cluster.paths import LATENCY_PROFILES, named
from hasgpu.fitter.child import answer
from hasgpu.fitter.reference_file import packaged_reference
from hasgpu.model.keys import RevisionKey
from hasgpu.prediction.season import SLOT_S, SLOTS_A_DAY, to_history

from tests.autoscaler.gpu_cluster import PAS, GpuCluster, gpu_cluster

EIGHT, NINE = 96, 108
REQUESTS = 15
"""In each five minutes from eight to nine, none else."""
PROFILE = named(LATENCY_PROFILES, "ns", "resnet50")


class Service:
    """A service at zero pods and its leader; time goes from one five minutes to the next."""

    def __init__(self, cluster: GpuCluster) -> None:
        self.cluster, self.slot = cluster, 0
        cluster.add_node()
        cluster.add_profile()
        self.revision = cluster.add_revision(replicas=0)
        cluster.settle()
        self.lead(0.0)

    def lead(self, now: float) -> None:
        """Another replica takes over: nothing is remembered but what the cluster holds."""
        cluster = self.cluster
        cluster.gpu_class = cluster.make_class()
        cluster.gpu_class.lead(True, now)
        loads, served = cluster.gpu_class._loads, cluster.gpu_class._book.served
        fit = partial(answer, reference=packaged_reference())
        self.fitting = ProfileFitting(
            cluster.session, cluster.world.profiles, served, loads.histories, lambda now: True, fit, clock=lambda: now
        )

    def passes(self, slots: int) -> None:
        """So many five minutes, each with its load; what is due is fitted and written now and then."""
        for _ in range(slots):
            now = self.slot * SLOT_S
            self.cluster.gpu_class.tick(now)
            self.cluster.gpu_class.tick(now + 4.0)
            if EIGHT <= self.slot % SLOTS_A_DAY < NINE:
                self.cluster.gpu_class.on_stats(self.cluster.load(self.revision, float(REQUESTS)), now + 10.0)
            if self.slot % 20 == 0:
                self.fitting.turn(now + 120.0)
            self.slot += 1
        self.fitting.turn(now + 240.0)
        self.cluster.settle()

    def changes_leader(self) -> None:
        """In the middle of five minutes."""
        now = self.slot * SLOT_S
        self.cluster.gpu_class.tick(now)
        self.fitting.turn(now + 1.0)
        self.cluster.settle()
        self.lead(now + 100.0)
        self.at(now + 104.0)
        self.slot += 1

    def at(self, now: float) -> int:
        """Pods that are wanted then."""
        self.cluster.tick(now)
        return self.cluster.gpu_class._wanted.get(self.revision, 0)

    @property
    def status(self) -> dict[str, Any]:
        found = self.cluster.api.get(PROFILE)
        assert found is not None
        status = found["status"]
        assert isinstance(status, dict)
        return status

    def season_said(self) -> tuple[str, str, str]:
        (said,) = [each for each in self.status["conditions"] if each["type"] == "Season"]
        return said["status"], said["reason"], said["message"]


@pytest.fixture
def service() -> Iterator[Service]:
    with gpu_cluster() as cluster:
        yield Service(cluster)


def morning(day: int) -> float:
    """Eight o'clock."""
    return (day * SLOTS_A_DAY + EIGHT) * SLOT_S


@pytest.mark.timeout(180)
def test_after_two_days_pods_start_before_the_load_of_the_third_also_of_the_next_revision_and_leader(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    service.passes(SLOTS_A_DAY + 130)
    assert service.season_said()[:2] == ("False", "TooShort")
    service.changes_leader()
    service.passes(SLOTS_A_DAY - 131 + 3)
    # A change of leader loses the five minutes in which it comes: two days are not quite there yet.
    history = to_history(service.status["learned"]["loads"]["classify"]["history"])
    unknown = [int(slot) for slot, code in enumerate(history.codes, history.first_slot) if code == 0]
    assert unknown == [SLOTS_A_DAY + 130]
    service.passes(12)
    assert service.season_said() == ("True", "Found", "classify: a day was found in 2.0 days")

    before = service.at(morning(2) - 600.0)
    service.cluster.api.merge(f"{PAS}/{service.revision.name}", {"spec": {"reachability": "Unreachable"}})
    service.revision, old = service.cluster.add_revision("classify-00002", replicas=0), service.revision
    service.lead(morning(2) - 500.0)
    assert (before, service.at(morning(2) - 490.0), service.at(morning(2) - 30.0)) == (0, 0, 0)
    with caplog.at_level(logging.INFO, "hasgpu.decisions"):
        # A start-up of eight seconds and ten more.
        assert service.at(morning(2) - 17.0) == 1
    assert service.cluster.gpu_class._wanted.get(old, 0) == 0
    said = "\n".join(tree(each) for each in decisions(told(caplog, service.revision)))
    assert "classify-00002  pods 0 -> 1" in said
    assert "─ prewarms" in said
    assert "─ season: later_per_s=0.049" in said


def told(caplog: pytest.LogCaptureFixture, revision: RevisionKey) -> Iterator[str]:
    """The log lines about a revision, as `kn hasgpu explain` reads them."""
    for each in caplog.records:
        fields = getattr(each, "fields", {})
        if fields.get("revision") == revision.name:
            yield json.dumps({**fields, "timestamp": "now"})
