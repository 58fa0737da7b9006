"""Class has under load: from the first stat that shows a surge until its patch is seen; a line for each size.

`make bench-autoscaler CLASS=has`. All revisions have a steady load, one after the other surges: as far as a quota
carries (the pod's annotation is patched), or beyond (the Deployment's replicas). The GPUs are objects only.
"""

from __future__ import annotations

import math
import os
import random
import statistics
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from hasgpu.cluster.objects import Deployment, Pod
from hasgpu.cluster.paths import DEPLOYMENTS, PODS, collection
from hasgpu.cluster.reflector import EventKind, Reflector
from hasgpu.cluster.session import Session
from hasgpu.model import annotations as keys

from . import fakes
from .candidate import Candidate, spent
from .fakes import Fakes
from .gpu_nodes import GpuNodes
from .gpu_revisions import LATENCY_S, PODS_OF_A_GPU, REQUESTS_PER_S, GpuRevisions
from .line import tell
from .plane import FOLDER, Plane, own_address
from .revisions import SksController

VERTICAL, HORIZONTAL = 3.0, 12.0
"""Times the steady load: the first a quota carries in the row's room, the second no quota does."""
STEADY = REQUESTS_PER_S * LATENCY_S
"""Requests of a revision in flight."""
TOO_LATE_S = 20.0
RECOVERY_S = 20.0
"""Until the quota of a revision that surged has fallen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One N. Latencies are None where nothing was seen in time."""

    revisions: int
    cpu_s_per_minute: float
    system_cpu_s_per_minute: float
    rss_mb: float
    peak_rss_mb: float
    threads: int
    writes_per_minute: float
    """Quotas of all revisions that the noise of a steady load has changed."""
    vertical_samples: int
    vertical_p50_s: float | None
    vertical_p99_s: float | None
    vertical_max_s: float | None
    horizontal_samples: int
    horizontal_p50_s: float | None
    horizontal_p99_s: float | None
    horizontal_max_s: float | None
    not_seen: int
    load_average: float


class Seen:
    """What the autoscaler has written, seen by watches of our own."""

    def __init__(self, session: Session) -> None:
        self._changed = threading.Condition()
        self._patched: dict[tuple[str, str], list[tuple[float, int, int]]] = {}
        self.quota_writes = 0
        self._watches = (
            Reflector(session, collection(PODS), Pod, on_event=self._pod).start(),
            Reflector(session, collection(DEPLOYMENTS), Deployment, on_event=self._deployment).start(),
        )
        for watch in self._watches:
            watch.wait_synced(60)

    def stop(self) -> None:
        """Ends."""
        for watch in self._watches:
            watch.stop()

    def until_raised(self, namespace: str, name: str, since_s: float) -> float | None:
        """When a pod's quota or a Deployment's replicas grew, as Unix seconds."""
        end = time.time() + TOO_LATE_S
        with self._changed:
            while time.time() < end:
                for at_s, before, after in self._patched.get((namespace, name), ()):
                    if at_s > since_s and after > before:
                        return at_s
                self._changed.wait(end - time.time())
        return None

    def _pod(self, kind: EventKind, old: Pod | None, new: Pod | None) -> None:
        if old is not None and new is not None:
            before, after = (pod.metadata.annotations.get(keys.SLICE_TIME_QUOTA, "0") for pod in (old, new))
            if before != after:
                self.quota_writes += 1
                self._note(new.metadata.namespace, new.metadata.name, int(before), int(after))

    def _deployment(self, kind: EventKind, old: Deployment | None, new: Deployment | None) -> None:
        if old is not None and new is not None and old.spec.replicas != new.spec.replicas:
            self._note(new.metadata.namespace, new.metadata.name, old.spec.replicas, new.spec.replicas)

    def _note(self, namespace: str, name: str, before: int, after: int) -> None:
        with self._changed:
            self._patched.setdefault((namespace, name), []).append((time.time(), before, after))
            self._changed.notify_all()


class Scene:
    """The autoscaler at work on a steady load."""

    def __init__(self, count: int, per_namespace: int) -> None:
        self.plane = Plane()
        self.nodes = GpuNodes(self.plane.session, (count - 1) // PODS_OF_A_GPU + 1, FOLDER / "tls")
        self.revisions = GpuRevisions(self.plane, self.nodes, count, per_namespace)
        self.sks, self.seen = SksController(self.plane.session), Seen(self.plane.session)
        push_to = f"{own_address()}:8080"
        self.load = Fakes(count, per_namespace, push_to=push_to, concurrency=STEADY, latency_s=LATENCY_S)
        os.environ["HASGPU_TLS"] = str(FOLDER / "tls/autoscaler")
        self.candidate = Candidate("ours", self.plane)

    def stop(self) -> None:
        """Ends everything."""
        self.candidate.stop()
        self.load.stop()
        self.seen.stop()
        self.sks.stop()
        self.nodes.stop()
        self.plane.stop()

    def surge(self, index: int, times: float) -> float | None:
        """Seconds from the first stat with so many times the load to the patch; None where none came."""
        vertical = times <= VERTICAL
        self.load.change(index, times * STEADY)
        told_s = self.load.told_at(index)
        name = f"r-{index}-pod" if vertical else f"r-{index}-deployment"
        seen_s = self.seen.until_raised(self.revisions.namespace(index), name, told_s)
        self.load.change(index, STEADY)
        return None if seen_s is None else seen_s - told_s


def measure(count: int, per_namespace: int, warm_up_s: float, window_s: float, samples: int) -> Row:
    """One N."""
    scene = Scene(count, per_namespace)
    try:
        time.sleep(warm_up_s)
        before, written, begun = scene.candidate.cost(), scene.seen.quota_writes, time.monotonic()
        time.sleep(window_s)
        after, took_s = scene.candidate.cost(), time.monotonic() - begun
        written = scene.seen.quota_writes - written
        vertical = _surges(scene, VERTICAL, samples)
        horizontal = _surges(scene, HORIZONTAL, samples // 4)
        return Row(
            revisions=count,
            **spent(before, after, took_s),
            writes_per_minute=written * 60 / took_s,
            not_seen=(vertical + horizontal).count(None),
            load_average=os.getloadavg()[1],
            **_figures("vertical", vertical),
            **_figures("horizontal", horizontal),
        )
    finally:
        scene.stop()


def _surges(scene: Scene, times: float, samples: int) -> list[float | None]:
    """One after the other, at any moment of the second; a revision comes again only when it is calm."""
    found = []
    for index in _calm(scene.revisions.count, samples):
        time.sleep(random.uniform(0.2, 1.2))
        found.append(scene.surge(index, times))
    return found


def _calm(count: int, samples: int) -> Iterator[int]:
    surged_s: dict[int, float] = {}
    order = random.sample(range(count), count)
    for number in range(samples):
        index = order[number % count]
        time.sleep(max(0.0, surged_s.get(index, 0.0) + RECOVERY_S - time.monotonic()))
        yield index
        surged_s[index] = time.monotonic()


def _figures(kind: str, found: list[float | None]) -> dict[str, Any]:
    """Percentiles of those that were seen: the 99th of a hundred, the largest of fewer."""
    delays = sorted(each for each in found if each is not None)
    p99 = delays[math.ceil(0.99 * len(delays)) - 1] if delays else None
    return {
        f"{kind}_samples": len(found),
        f"{kind}_p50_s": statistics.median(delays) if delays else None,
        f"{kind}_p99_s": p99,
        f"{kind}_max_s": delays[-1] if delays else None,
    }


@click.command()
@click.option("-n", "sizes", multiple=True, type=int, default=(1, 100, 1000), show_default=True, help="Revisions.")
@click.option("--per-namespace", default=100, show_default=True)
@click.option("--window", "window_s", default=60.0, show_default=True, help="Seconds over which CPU is taken.")
@click.option("--warm-up", "warm_up_s", default=60.0, show_default=True)
@click.option("--samples", default=100, show_default=True, help="Surges; a tenth of it where there is one revision.")
@click.option("--out", type=click.Path(path_type=Path), help="A file that the lines are added to.")
def main(
    sizes: tuple[int, ...], per_namespace: int, window_s: float, warm_up_s: float, samples: int, out: Path | None
) -> None:
    """Measure class has."""
    fakes.build()
    for count in sizes:
        row = measure(count, per_namespace, warm_up_s, window_s, samples if count > 1 else max(1, samples // 10))
        tell(row, out, digits=3)


if __name__ == "__main__":
    main()
