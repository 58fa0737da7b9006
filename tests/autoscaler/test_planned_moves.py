"""Planned moves on an API server: a twin first, then the pod leaves; and whoever leads next goes on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from hasgpu.autoscaler.surroundings import AgentReports
from hasgpu.model.keys import RevisionKey

from tests.autoscaler.gpu_cluster import DEPLOYMENTS, GPU, PODS, GpuCluster, gpu_cluster

OTHER_GPU = "GPU-b"
BUSY, QUIET = RevisionKey("ns", "classify-00001"), RevisionKey("ns", "detect-00001")


@dataclass
class Kubernetes:
    """Makes and deletes pods as Deployments ask, and starts what was placed."""

    cluster: GpuCluster
    now: float = 0.0
    pods: dict[RevisionKey, list[str]] = field(default_factory=dict)
    fewest: int = 99
    """Ready pods of the revision that is moved, at the least."""

    def placed(self, revision: RevisionKey, gpu: str, row: int, quota: int) -> str:
        """A revision of one ready pod that an earlier leader placed."""
        self.cluster.add_revision(revision.name)
        name = self.cluster.add_pod(revision.name)
        entry = {"gpu": gpu, "row": str(row), "sm-partition": "20", "time-quota": str(quota), "generation": "1"}
        notes = {f"slice.hasgpu.dev/{key}": value for key, value in {**entry, "gpu-memory": str(1 << 30)}.items()}
        self.cluster.api.merge(f"{PODS}/{name}", {"metadata": {"annotations": notes}, "spec": {"schedulingGates": []}})
        self.cluster.ready(name)
        self.pods[revision] = [name]
        return name

    def second(self, *, starts: bool = True) -> None:
        """A second of light load, a tick, and what Kubernetes makes of it."""
        self.now += 1.0
        for revision, rate in ((BUSY, 4.0), (QUIET, 1.0)):
            self.cluster.gpu_class.on_stats(self.cluster.load(revision, rate), self.now)
        self.cluster.acknowledge(self.now)
        self.cluster.tick(self.now)
        for revision, names in self.pods.items():
            self._scale(revision, names)
            for name in names:
                if starts and "gpu" in self.cluster.slice_of(name):
                    self.cluster.ready(name)
        ready = [name for name in self.pods[QUIET] if self._ready(name)]
        self.fewest = min(self.fewest, len(ready))

    def run(self, seconds: int, *, starts: bool = True) -> None:
        for _ in range(seconds):
            self.second(starts=starts)

    def gpus(self) -> set[str]:
        return {self.cluster.slice_of(name)["gpu"] for names in self.pods.values() for name in names}

    def _ready(self, name: str) -> bool:
        return bool(self.cluster.pod(name)["status"]["phase"] == "Running")

    def _scale(self, revision: RevisionKey, names: list[str]) -> None:
        wanted = self.cluster.gpu_class._wanted.get(revision, len(names))
        self.cluster.api.merge(f"{DEPLOYMENTS}/{revision.name}-deployment", {"spec": {"replicas": wanted}})
        if wanted > len(names):
            names.append(self.cluster.add_pod(revision.name))
        elif wanted < len(names):
            names.remove(victim := min(names, key=self._cost))
            self.cluster.api.delete(f"{PODS}/{victim}")

    def _cost(self, name: str) -> int:
        notes = self.cluster.pod(name)["metadata"].get("annotations", {})
        return int(notes.get("controller.kubernetes.io/pod-deletion-cost", "0"))


@pytest.fixture
def two_gpus() -> Iterator[Kubernetes]:
    """A pod on each of two GPUs; the second one's fits beside the first one's."""
    with gpu_cluster() as cluster:
        cluster.add_node()
        cluster.add_gpu("gpu-b", OTHER_GPU)
        cluster.add_profile()
        cluster.settings.put("config-hasgpu", {"move-after": "31s"})
        kubernetes = Kubernetes(cluster)
        kubernetes.placed(BUSY, GPU, 0, 30)
        kubernetes.placed(QUIET, OTHER_GPU, 0, 10)
        cluster.acknowledge(0.0)
        yield kubernetes


def until_marked(kubernetes: Kubernetes) -> str:
    """Until the pod to be moved is told; its name."""
    (name,) = kubernetes.pods[QUIET]
    for _ in range(120):
        kubernetes.second()
        if "moves-for" in kubernetes.cluster.slice_of(name):
            return name
    raise AssertionError("nothing was to be moved")


def test_a_pod_is_made_anew_beside_others_before_it_leaves_and_a_gpu_is_free(
    two_gpus: Kubernetes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "hasgpu.decisions")
    before = until_marked(two_gpus)
    assert two_gpus.cluster.slice_of(before)["moves-for"] == OTHER_GPU
    two_gpus.run(12)
    assert two_gpus.gpus() == {GPU}
    (after,) = two_gpus.pods[QUIET]
    assert after != before
    assert two_gpus.fewest == 1
    assert f"moves: pod={before} gpu={GPU} row=0 frees={OTHER_GPU}" in caplog.text
    assert f"moved: pod={before} twin={after} frees={OTHER_GPU}" in caplog.text


@pytest.mark.parametrize("seconds", range(6))
def test_another_replica_goes_on_once_it_has_heard_the_agents(two_gpus: Kubernetes, seconds: int) -> None:
    before = until_marked(two_gpus)
    two_gpus.run(seconds)
    cluster = two_gpus.cluster
    cluster.reports = AgentReports(lambda: None)
    cluster.gpu_class = cluster.make_class()
    cluster.gpu_class.lead(True, two_gpus.now)
    cluster.tick(two_gpus.now + 0.1)
    two_gpus.run(25)
    assert two_gpus.gpus() == {GPU}
    assert len(two_gpus.pods[QUIET]) == 1
    assert before not in two_gpus.pods[QUIET]


def test_pods_that_can_not_be_made_anew_are_not_made_again_and_their_revisions_are_told(two_gpus: Kubernetes) -> None:
    until_marked(two_gpus)
    made = two_gpus.cluster.made
    two_gpus.run(700, starts=False)
    assert len(two_gpus.pods[QUIET]) == 1
    two_gpus.run(800, starts=False)
    assert two_gpus.cluster.made == made + 1
    said = [message for reason, message in two_gpus.cluster.told_words() if reason == "MoveGivenUp"]
    # Of each revision one was tried: neither GPU can be freed.
    assert sorted(message.partition("freed GPU ")[2][:5] for message in said) == [GPU, OTHER_GPU]


@pytest.mark.parametrize("seconds", range(6))
def test_whoever_leads_next_ends_the_move(two_gpus: Kubernetes, seconds: int) -> None:
    before = until_marked(two_gpus)
    two_gpus.run(seconds)
    two_gpus.cluster.gpu_class.lead(True, two_gpus.now)
    two_gpus.run(20)
    assert two_gpus.gpus() == {GPU}
    assert len(two_gpus.pods[QUIET]) == 1
    assert before not in two_gpus.pods[QUIET]
    assert two_gpus.fewest == 1


def test_a_pod_that_was_asked_for_by_a_leader_that_is_gone_becomes_the_twin(two_gpus: Kubernetes) -> None:
    before = until_marked(two_gpus)
    while len(two_gpus.pods[QUIET]) == 1:
        two_gpus.second(starts=False)
    two_gpus.cluster.gpu_class.lead(True, two_gpus.now)
    two_gpus.run(20)
    (after,) = two_gpus.pods[QUIET]
    uid = two_gpus.cluster.slice_of(after)["twin-of"]
    assert before != after
    assert uid
    assert two_gpus.gpus() == {GPU}


def test_moves_that_are_turned_off_leave_pods_where_they_are_and_unmarked(two_gpus: Kubernetes) -> None:
    before = until_marked(two_gpus)
    two_gpus.cluster.settings.put("config-hasgpu", {"move-after": "0s"})
    two_gpus.run(3, starts=False)
    assert "moves-for" not in two_gpus.cluster.slice_of(before)
