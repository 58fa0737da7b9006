"""Who looked before sees what one who looks for the first time sees."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hasgpu.autoscaler.gpu_world import GpuWorld
from hasgpu.autoscaler.lookout import AGENT_SILENT_S, Lookout
from hasgpu.cluster.objects import Pod
from hasgpu.decision.ledger import Ledger
from hasgpu.model.gpu import Placement
from hasgpu.model.keys import PodKey

from tests.autoscaler.gpu_cluster import PODS, GpuCluster


class Life:
    """Pods of two revisions that come, are placed, become ready and go; their agent follows, stops or is silent."""

    def __init__(self, cluster: GpuCluster, seed: int) -> None:
        self.cluster, self.random, self.now = cluster, random.Random(seed), 100.0
        self.revisions = [cluster.add_revision(f"{name}-00001") for name in "ab"]
        self.pods: list[str] = []

    def step(self) -> None:
        self.now += self.random.uniform(0.1, 2.0)
        cluster = self.cluster
        match self.random.randrange(9):
            case 0 | 1:
                self.pods.append(cluster.add_pod(self.random.choice(self.revisions).name))
            case 2 if self.pods:
                cluster.ready(self.random.choice(self.pods))
            case 3 if self.pods:
                gone = self.pods.pop(self.random.randrange(len(self.pods)))
                cluster.api.delete(f"{PODS}/{gone}")
            case 4 if self.pods:
                stamp = {"deletionTimestamp": "2026-01-01T00:00:00Z"}
                cluster.api.merge(f"{PODS}/{self.random.choice(self.pods)}", {"metadata": stamp})
            case 5:
                cluster.acknowledge(self.now, alive=lambda name: self.random.random() < 0.8)
            case 6:
                self.now += self.random.choice([0.0, AGENT_SILENT_S])
            case 7:
                policy = self.random.choice(["slots", "borrow"])
                cluster.settings.put("config-hasgpu", {"row-policy": policy, "lent-percent": "40"})
            case _:
                cluster.hear_nothing_new(self.now)
                cluster.gpu_class.on_stats(cluster.load(self.revisions[0], self.random.uniform(0, 20)), self.now)
        cluster.tick(self.now)


@pytest.mark.parametrize("seed", range(4))
def test_what_is_followed_is_what_is_found_anew_whatever_happens(cluster: GpuCluster, seed: int) -> None:
    life = Life(cluster, seed)
    following = cluster.gpu_class._lookout
    for _ in range(30):
        life.step()
        cluster.settle()
        seen = following.look(life.now)
        anew = Lookout(following._around, following._writes)
        assert plain(seen) == plain(anew.look(life.now))
        assert booked(following.ledger()) == booked(anew.ledger()) == set(seen.placements)


def plain(world: GpuWorld) -> GpuWorld:
    """Without orders that mean nothing, and without what is told once."""
    return replace(
        world,
        placements=by_pod(world.placements),
        placed={key: by_pod(group) for key, group in world.placed.items()},
        in_row={key: by_pod(group) for key, group in world.in_row.items()},
        pods_of={key: tuple(sorted(group, key=name_of)) for key, group in world.pods_of.items()},
        acknowledged=(),
    )


def by_pod(placements: tuple[Placement, ...]) -> tuple[Placement, ...]:
    return tuple(sorted(placements, key=pod_of))


def name_of(pod: Pod) -> str:
    return pod.metadata.name


def pod_of(placement: Placement) -> PodKey:
    return placement.pod


def booked(ledger: Ledger) -> set[Placement]:
    return {placement for books in ledger.gpus() for placement in books.placements()}
