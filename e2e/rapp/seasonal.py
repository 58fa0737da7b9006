"""`python -m e2e.rapp.seasonal`: a service at zero pods whose day begins, known and unknown; 6 to 12 minutes.

Creates two services of one profile in a namespace of its own. Into the profile's status it writes for one of them the
record of three days that were lived nowhere: nothing for hours, then a load that begins with the second five minutes
from now. Everything after that is the cluster's: five minutes are recorded, the fitter finds the day, a pod is started
before it begins. Then both get the same load. All figures are *emulated*.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import click
from hasgpu.prediction.season import SLOT_S, SLOTS_A_DAY, LoadHistory, slot_of

from e2e.commands import ROOT, apply, kn, kubectl, kubectl_json, remove_services, wait_if_leaving
from e2e.demo.functions import IMAGE, TIMEOUT_S, Function, ingress_address
from e2e.load.arrivals import Slot, poisson
from e2e.load.replay import replay

NAMESPACE = "hasgpu-season"
PROFILE = "resnet50"
KNOWN, UNKNOWN = "known", "unknown"
DAYS = 3
BUSY_SLOTS = 72
"""Six hours from the day's beginning."""
LOADED_S = 20.0
WRITING_S = 60.0
"""At least so long before a slot ends the services are created, and the record is written."""


@click.command()
@click.option("--rate", default=5.0, show_default=True, help="requests/s of the day")
@click.option("--slo-ms", default=150, show_default=True)
def main(rate: float, slo_ms: int) -> None:
    """Exit code 1 where the known day found no pod ready when it began."""
    wait_if_leaving(NAMESPACE)
    apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    try:
        found = _story(rate, slo_ms)
    finally:
        remove_services(NAMESPACE)
        kubectl("delete", "namespace", NAMESPACE, "--wait=false")
    click.echo(json.dumps({"gpu": "emulated", **found}, indent=2))
    sys.exit(0 if found["ready_before_the_day_s"] > 0.0 and not found[KNOWN]["cold"] else 1)


def _story(rate: float, slo_ms: int) -> dict[str, Any]:
    manifest = (ROOT / "e2e" / "demo" / "profiles" / f"{PROFILE}.yaml").read_text()
    kubectl("apply", "--namespace", NAMESPACE, "-f", "-", stdin=manifest)
    _wait_for_an_early_moment()
    functions = [Function(name=name, model=PROFILE, slo_ms=slo_ms) for name in (KNOWN, UNKNOWN)]
    for function in functions:
        _create(function)
    begins_s = _write_days(rate)
    _until(lambda: not _pods(KNOWN) and not _pods(UNKNOWN), 180, "both services are at zero")
    _say(f"the day begins in {begins_s - time.time():.0f} s")
    _until(lambda: _season() == "True", begins_s - time.time(), "the fitter has found the day")
    _say(f"the day was found {begins_s - time.time():.0f} s before it begins")
    ready_s = _until(lambda: _ready_s(KNOWN), begins_s - time.time() + 5, "a pod is ready")
    woken = bool(_pods(UNKNOWN))
    time.sleep(max(0.0, begins_s - time.time()))
    targets = {function.name: function.target(NAMESPACE, ingress_address()) for function in functions}
    day = (Slot(start_s=0.0, length_s=LOADED_S, requests_per_s=rate),)
    arrivals = sorted(
        (arrival for name in targets for arrival in poisson(name, day, seed=1)), key=lambda each: each.due_s
    )
    outcomes = asyncio.run(replay(arrivals, targets))
    return {
        "ready_before_the_day_s": round(begins_s - ready_s, 1),
        "unknown_had_a_pod": woken,
        **{name: _figures([each for each in outcomes if each.function == name], slo_ms) for name in targets},
    }


def _create(function: Function) -> None:
    """Both services have one profile; the demo's functions have one each."""
    kn(
        *("service", "create", function.name, "--namespace", NAMESPACE, "--image", IMAGE, "--port", "8080"),
        *("--env", f"MODEL={function.model}", "--timeout", str(TIMEOUT_S), "--wait-timeout", "120"),
        f"--annotation-revision=hasgpu.dev/slo-latency={function.slo_ms}ms",
        f"--annotation-revision=hasgpu.dev/profile={PROFILE}",
    )


def _write_days(rate: float) -> float:
    """Writes the record of one service's days; when the next of them begins, in seconds since the epoch."""
    slot = slot_of(time.time())
    begins = slot + 2
    first = begins - DAYS * SLOTS_A_DAY
    history = LoadHistory.of(first, [rate if day < BUSY_SLOTS else 0.0 for day in _times_of_day(first, slot, begins)])
    loads = {KNOWN: {"history": history.to_plain()}}
    before = kubectl_json("get", "latencyprofiles.hasgpu.dev", PROFILE, "--namespace", NAMESPACE)
    learned = before.get("status", {}).get("learned", {}) | {"loads": loads}
    patch = json.dumps({"status": {"learned": learned}})
    words = ("patch", "latencyprofiles.hasgpu.dev", PROFILE, "--namespace", NAMESPACE, "--type", "merge")
    kubectl(*words, "--subresource", "status", "--patch", patch)
    return begins * SLOT_S


def _wait_for_an_early_moment() -> None:
    """With a slot's end its record would begin without what is written here."""
    left_s = SLOT_S - time.time() % SLOT_S
    if left_s < WRITING_S:
        _say(f"begins in {left_s:.0f} s, with the next five minutes")
        time.sleep(left_s + 1.0)


def _times_of_day(first: int, end: int, begins: int) -> list[int]:
    """Slots since the day began, of all slots from one to before another."""
    return [(slot - begins) % SLOTS_A_DAY for slot in range(first, end)]


def _season() -> str:
    profile = kubectl_json("get", "latencyprofiles.hasgpu.dev", PROFILE, "--namespace", NAMESPACE)
    said = [each["status"] for each in profile["status"].get("conditions", []) if each["type"] == "Season"]
    return said[0] if said else "absent"


def _pods(service: str) -> list[dict[str, Any]]:
    words = ("get", "pods", "--namespace", NAMESPACE, "-l", f"serving.knative.dev/service={service}")
    items: list[dict[str, Any]] = kubectl_json(*words)["items"]
    return items


def _ready_s(service: str) -> float | None:
    """Now, where a pod is ready."""
    conditions = [each for pod in _pods(service) for each in pod["status"].get("conditions", [])]
    return time.time() if any(each["type"] == "Ready" and each["status"] == "True" for each in conditions) else None


def _figures(outcomes: list[Any], slo_ms: int) -> dict[str, Any]:
    """``cold``: answered only after ten SLOs."""
    latencies = [1e3 * each.latency_s for each in outcomes]
    return {
        "requests": len(outcomes),
        "failed": sum(not each.ok for each in outcomes),
        "cold": sum(latency > 10 * slo_ms for latency in latencies),
        "late": sum(latency > slo_ms for latency in latencies),
        "max_ms": round(max(latencies)),
    }


def _until(check: Callable[[], Any], timeout_s: float, what: str) -> Any:
    deadline_s = time.monotonic() + timeout_s
    while time.monotonic() < deadline_s:
        if found := check():
            return found
        time.sleep(0.5)
    raise click.ClickException(f"not within {timeout_s:.0f} s: {what}")


def _say(text: str) -> None:
    click.echo(text, err=True)


if __name__ == "__main__":
    main()
