"""`make chaos`: kills a component again and again under open-loop load and counts what users saw.

Runs on the node (it needs root to send SIGKILL). The GPU may be emulated; the result says so.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import threading
import time
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from e2e.commands import ROOT, CommandFailed, apply, kn, kubectl, kubectl_json, remove_services, wait_if_leaving
from e2e.demo.functions import IMAGE, ingress_address
from e2e.demo.summary import percentile
from e2e.load.arrivals import Slot, poisson
from e2e.load.replay import Outcome, Target, replay

from .invariants import overcommitted, phantoms
from .victims import COMPONENTS, Component, running, strike

NAMESPACE, SERVICE = "hasgpu-chaos", "steady"
LEAST_PODS = 2
console = Console(stderr=True, highlight=False)


def stage() -> Target:
    """A GPU service with one or two pods."""
    wait_if_leaving(NAMESPACE)
    apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    profile = ROOT / "e2e/demo/profiles/resnet50.yaml"
    kubectl("--namespace", NAMESPACE, "apply", "-f", str(profile))
    kubectl("--namespace", NAMESPACE, "delete", "ksvc", SERVICE, "--ignore-not-found")
    kn(
        *("service", "create", SERVICE, "--namespace", NAMESPACE, "--image", IMAGE, "--port", "8080"),
        *("--env", "MODEL=resnet50", "--scale-min", str(LEAST_PODS), "--scale-max", "3", "--wait-timeout", "120"),
        "--annotation-revision=hasgpu.dev/slo-latency=300ms",
        "--annotation-revision=hasgpu.dev/profile=resnet50",
        "--annotation-revision=hasgpu.dev/sm-partition=20%",
    )
    url = kubectl_json("get", "ksvc", SERVICE, "--namespace", NAMESPACE)["status"]["url"]
    return Target(url=f"http://{ingress_address()}/predict", host=str(url).split("://", 1)[1])


def resize(pods: int) -> None:
    """So many pods of the service, all of them Ready; the revision before has left."""
    # Whoever was killed before must be back: a service is admitted by the webhook.
    kubectl("--namespace", "hasgpu-system", "rollout", "status", "deployment/hasgpu-webhook", "--timeout=120s")
    bounds = ("--scale-min", str(pods), "--scale-max", str(pods + 1))
    kn("service", "update", SERVICE, "--namespace", NAMESPACE, *bounds, "--wait-timeout", "120")
    deadline = time.monotonic() + 120.0
    while time.monotonic() < deadline:
        present = kubectl_json("get", "pods", "--namespace", NAMESPACE)["items"]
        if len(present) == sum(map(serves, present)) == pods:
            return
        time.sleep(1.0)
    raise CommandFailed(f"service {SERVICE}: not {pods} Ready pods, and no others, after 120 s")


def lease() -> tuple[str, str]:
    """Holder and renewal of the allocator's lease."""
    spec = kubectl_json("get", "lease", "hasgpu-allocator", "--namespace", "knative-serving")["spec"]
    return spec.get("holderIdentity", ""), spec.get("renewTime", "")


class Killer(threading.Thread):
    """Kills at the given instants and notes how long control was away: until the lease is renewed again."""

    def __init__(self, component: Component, instants_s: list[float], begin: float) -> None:
        super().__init__(name="killer", daemon=True)
        self._component, self._instants_s, self._begin = component, instants_s, begin
        self.killed = 0
        self.missed = 0
        """Instants at which nothing of the component ran."""
        self.processes = 0
        self.control_away_s: list[float] = []
        self.violations: list[str] = []

    def run(self) -> None:
        chance = random.Random(len(self._instants_s))
        for instant in self._instants_s:
            time.sleep(max(0.0, self._begin + instant - time.monotonic()))
            victims = running(self._component)
            if not victims:
                self.missed += 1
                continue
            chance.shuffle(victims)
            self.processes += strike(self._component, victims[: self._component.replicas_at_once])
            self.killed += len(victims[: self._component.replicas_at_once])
            self._watch_control()
            self.violations += overcommitted(kubectl_json("get", "pods", "-A")["items"])

    def _watch_control(self) -> None:
        begin, before = time.monotonic(), lease()
        while time.monotonic() - begin < 60:
            time.sleep(0.25)
            if lease() != before:
                self.control_away_s.append(time.monotonic() - begin)
                return
        self.control_away_s.append(float("inf"))


def replace_pods(until: float) -> None:
    """Every ten seconds one ready pod of the service is deleted, as a node drain would; the other keeps serving."""
    while time.monotonic() < until:
        ready = [pod for pod in kubectl_json("get", "pods", "--namespace", NAMESPACE)["items"] if serves(pod)]
        if len(ready) > 1:
            kubectl("--namespace", NAMESPACE, "delete", "pod", ready[0]["metadata"]["name"], "--wait=false")
        time.sleep(10.0)


def serves(pod: dict[str, Any]) -> bool:
    """Ready and staying."""
    conditions = pod["status"].get("conditions", [])
    ready = any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
    return ready and "deletionTimestamp" not in pod["metadata"]


def observe(target: Target, seconds: float, rate: float, seed: int) -> list[Outcome]:
    """Open-loop load."""
    arrivals = poisson(SERVICE, [Slot(start_s=0.0, length_s=seconds, requests_per_s=rate)], seed)
    return asyncio.run(replay(arrivals, {SERVICE: target}))


def report(outcomes: list[Outcome]) -> dict[str, Any]:
    """What users saw."""
    failures = [o for o in outcomes if not o.ok]
    latencies = [o.latency_s * 1e3 for o in outcomes if o.ok]
    return {
        "requests": len(outcomes),
        "failed": len(failures),
        "p50_ms": round(percentile(latencies, 50), 1),
        "p99_ms": round(percentile(latencies, 99), 1),
        "max_ms": round(max(latencies, default=0.0), 1),
        "errors": sorted({f"{o.status} {o.error[:120]}" for o in failures}),
    }


def assault(component: Component, target: Target, seconds: float, rate: float, kills: int, seed: int) -> dict[str, Any]:
    """One run under kills."""
    chance = random.Random(f"{component.name}/{seed}")
    instants = sorted(chance.uniform(1.0, seconds - 1.0) for _ in range(kills))
    killer = Killer(component, instants, time.monotonic())
    killer.start()
    if component.churn:
        threading.Thread(target=replace_pods, args=(time.monotonic() + seconds,), name="churn", daemon=True).start()
    outcomes = observe(target, seconds, rate, seed)
    killer.join(120)
    return report(outcomes) | {
        "kills": killer.killed,
        "nothing to kill": killer.missed,
        "processes": killer.processes,
        "control_away_s": {
            "p50": round(percentile(killer.control_away_s, 50), 2),
            "max": round(max(killer.control_away_s, default=0.0), 2),
        },
        "violations": killer.violations,
        "phantoms": settled_phantoms(),
    }


def settled_phantoms(timeout_s: float = 45.0) -> list[str]:
    """What GPU objects still miscount once they had time to follow (they are written at most each 10 s)."""
    deadline = time.monotonic() + timeout_s
    while True:
        found = phantoms(kubectl_json("get", "gpus")["items"], kubectl_json("get", "pods", "-A")["items"])
        if not found or time.monotonic() > deadline:
            return found
        time.sleep(1.0)


@click.command()
@click.argument("components", nargs=-1, type=click.Choice(sorted(COMPONENTS)))
@click.option("--kills", default=20, show_default=True, help="Kills of each component.")
@click.option("--seconds", default=60.0, show_default=True, help="Length of each run.")
@click.option("--rate", default=12.0, show_default=True, help="Requests/s, open loop.")
@click.option("--seed", default=1, show_default=True)
@click.option("--output", type=click.Path(path_type=Path), default=ROOT / "demo/chaos.json")
def main(components: tuple[str, ...], kills: int, seconds: float, rate: float, seed: int, output: Path) -> None:
    """Kill COMPONENTS (default: all) under load; exit 1 where a request failed that does not fail without kills."""
    console.print("a service with two GPU pods")
    target = stage()
    results: dict[str, Any] = {"gpu": "emulated", "seconds": seconds, "rate": rate, "seed": seed}
    try:
        results["without kills"] = report(observe(target, seconds, rate, seed))
        console.print("without kills", results["without kills"])
        for name in components or tuple(COMPONENTS):
            if COMPONENTS[name].pods != LEAST_PODS:
                resize(COMPONENTS[name].pods)
            results[name] = assault(COMPONENTS[name], target, seconds, rate, kills, seed)
            console.print(name, results[name])
    finally:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(json.dumps(results, indent=2) + "\n")
        clear()
    bad = [name for name in results if isinstance(results[name], dict) and spoiled(results[name])]
    sys.exit(1 if bad else 0)


def spoiled(result: dict[str, Any]) -> bool:
    """True where users or the ledger suffered."""
    return bool(result["failed"] or result.get("violations") or result.get("phantoms") or result.get("kills", 1) == 0)


def clear() -> None:
    """Removes the service and its namespace; a cluster that cannot be reached is told, not hidden."""
    try:
        remove_services(NAMESPACE)
        kubectl("delete", "namespace", NAMESPACE, "--wait=false")
    except CommandFailed as failure:
        console.print(f"could not clear: {failure}")


if __name__ == "__main__":
    import os

    from e2e.commands import environment

    os.environ.update(environment())
    main()
