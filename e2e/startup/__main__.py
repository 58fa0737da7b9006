"""`make bench-startup`: GPU services are created one after another; each one's pod is timed."""

from __future__ import annotations

import json
import os
import threading
import time

import click
from hasgpu.cluster.objects import Pod
from hasgpu.cluster.reflector import EventKind, Reflector
from hasgpu.cluster.session import Session

from e2e.commands import apply, environment, kn, kubectl, remove_services, wait_if_leaving
from e2e.demo.functions import IMAGE
from e2e.demo.summary import percentile

NAMESPACE = "hasgpu-startup"


class StopWatch:
    """Seconds from a pod's first sight to its slice and to Ready, by the watch."""

    def __init__(self) -> None:
        self.seen: dict[str, float] = {}
        self.placed: dict[str, float] = {}
        self.ready: dict[str, float] = {}
        self._changed = threading.Condition()

    def on_event(self, kind: EventKind, old: Pod | None, new: Pod | None) -> None:
        """From the reflector's thread."""
        if new is None:
            return
        now = time.monotonic()
        with self._changed:
            self.seen.setdefault(new.metadata.uid, now)
            if not new.spec.scheduling_gates:
                self.placed.setdefault(new.metadata.uid, now)
            if new.ready:
                self.ready.setdefault(new.metadata.uid, now)
            self._changed.notify_all()

    def wait_ready(self, count: int, timeout_s: float) -> None:
        """Returns when so many pods have been Ready; RuntimeError where they were not in time."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self.ready) >= count, timeout_s):
                raise RuntimeError(f"only {len(self.ready)} of {count} pods were Ready within {timeout_s} s")


@click.command()
@click.option("--count", default=20, show_default=True, help="Pods to time.")
@click.option("--model", default="resnet50", show_default=True)
def main(count: int, model: str) -> None:
    """Print create-to-Ready times of COUNT pods as JSON (emulated GPU on the bed)."""
    wait_if_leaving(NAMESPACE)
    apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    watch = StopWatch()
    pods = Reflector(Session.connect(), f"/api/v1/namespaces/{NAMESPACE}/pods", Pod, on_event=watch.on_event).start()
    try:
        for number in range(count):
            kn(
                *("service", "create", f"timed-{number}", "--namespace", NAMESPACE, "--image", IMAGE, "--no-wait"),
                *("--port", "8080", "--env", f"MODEL={model}", "--scale-min", "1"),
                "--annotation-revision=hasgpu.dev/scaling=fixed",
                "--annotation-revision=hasgpu.dev/sm-partition=10%",
                "--annotation-revision=hasgpu.dev/time-quota=30%",
                "--annotation-revision=hasgpu.dev/gpu-memory=1Gi",
            )
            watch.wait_ready(number + 1, 60)
    finally:
        pods.stop()
        remove_services(NAMESPACE)
        kubectl("delete", "namespace", NAMESPACE, "--wait=false")
    click.echo(json.dumps(figures(watch), indent=2))


def figures(watch: StopWatch) -> dict[str, object]:
    """Quantiles over all pods, in seconds."""
    ready = [watch.ready[uid] - watch.seen[uid] for uid in watch.ready]
    placed = [watch.placed[uid] - watch.seen[uid] for uid in watch.ready]
    return {
        "gpu": "emulated",
        "pods": len(ready),
        "create_to_slice_s": {"p50": round(percentile(placed, 50), 3), "p95": round(percentile(placed, 95), 3)},
        "create_to_ready_s": {
            "p50": round(percentile(ready, 50), 2),
            "p95": round(percentile(ready, 95), 2),
            "max": round(max(ready), 2),
        },
    }


if __name__ == "__main__":
    os.environ.update(environment())
    main()
