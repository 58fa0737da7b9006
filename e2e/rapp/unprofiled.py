"""`python -m e2e.rapp.unprofiled`: a service that brings no profile, and what is known of it after 300 requests.

Creates a service in a namespace of its own, sends it Poisson load through the ingress, and reads what the allocator has
written into the LatencyProfile that it made: against the cells of the demo's measured profile, which the cluster never
sees. Leaves nothing behind.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

import click
import yaml
from hasgpu.prediction.surface import Surface
from hasgpu.prediction.table import to_surface

from e2e.commands import ROOT, apply, kn, kubectl, kubectl_json, remove_services, wait_if_leaving
from e2e.demo.functions import IMAGE, ingress_address
from e2e.load.arrivals import Slot, poisson
from e2e.load.replay import Target, replay

NAMESPACE = "hasgpu-rapp"
WRITTEN_S = 65.0
SERVED_WITHIN = 0.25
"""Of the truth at the share that was served; beyond it the interval must hold it."""


@click.command()
@click.option("--model", default="convnext_large", show_default=True)
@click.option("--slo", default="400ms", show_default=True)
@click.option("--rate", default=4.0, show_default=True, help="requests/s")
@click.option("--requests", default=300, show_default=True)
def main(model: str, slo: str, rate: float, requests: int) -> None:
    """Exit code 1 where the surface is not usable by then."""
    name = model.replace("_", "-")
    wait_if_leaving(NAMESPACE)
    apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    try:
        words = ("service", "create", name, "--namespace", NAMESPACE, "--image", IMAGE, "--port", "8080")
        annotations = (f"--annotation-revision=hasgpu.dev/slo-latency={slo}",)
        kn(*words, "--env", f"MODEL={model}", "--timeout", "15", "--wait-timeout", "120", *annotations)
        served_s = _load(name, rate, requests)
        learned = _learned(name)
        rows = _compared(to_surface(_only(learned["fits"])), name)
        shown = _only(learned["served"])
    finally:
        remove_services(NAMESPACE)
        kubectl("delete", "namespace", NAMESPACE, "--wait=false")
    served = {int(share["sm"]) for share in shown}
    for row in rows:
        click.echo(
            f"sm {row['sm']:3} %: true {row['true_ms']:6.1f} ms, learnt {row['learnt_ms']:6.1f} ms "
            f"+- {100 * row['spread']:.0f} %, {100 * row['off']:+.0f} %{' served' if row['sm'] in served else ''}"
        )
    held = [row for row in rows if abs(row["off"]) <= max(row["spread"], SERVED_WITHIN)]
    click.echo(json.dumps({"requests": requests, "served_s": round(served_s, 1), "shown": shown, "held": len(held)}))
    sys.exit(0 if len(held) == len(rows) else 1)


def _load(name: str, rate: float, requests: int) -> float:
    url = str(kubectl_json("get", "ksvc", name, "--namespace", NAMESPACE)["status"]["url"])
    target = Target(url=f"http://{ingress_address()}/predict", host=url.split("://", 1)[1])
    arrivals = poisson(name, (Slot(start_s=0.0, length_s=requests / rate, requests_per_s=rate),), seed=1)[:requests]
    began_s = time.monotonic()
    outcomes = asyncio.run(replay(arrivals, {name: target}))
    click.echo(f"{sum(each.ok for each in outcomes)} of {len(outcomes)} requests answered", err=True)
    return time.monotonic() - began_s


def _learned(name: str) -> dict[str, dict[str, Any]]:
    """What is kept in the end: the allocator writes once a minute at most, and only what is news."""
    time.sleep(WRITTEN_S)
    profile = kubectl_json("get", "latencyprofiles.hasgpu.dev", name, "--namespace", NAMESPACE)
    learned: dict[str, dict[str, Any]] = profile["status"]["learned"]
    return learned


def _only(by_product: dict[str, Any]) -> Any:
    (value,) = by_product.values()
    return value


def _compared(surface: Surface, name: str) -> list[dict[str, float]]:
    measured = yaml.safe_load((ROOT / "e2e" / "demo" / "profiles" / f"{name}.yaml").read_text())
    rows = []
    for cell in measured["spec"]["measurements"][0]["cells"]:
        if cell["batch"] == 1:
            learnt_s = surface.work_s(1, cell["sm"])
            rows.append(
                {
                    "sm": cell["sm"],
                    "true_ms": cell["latencyMs"],
                    "learnt_ms": 1e3 * learnt_s,
                    "spread": surface.spread(1, cell["sm"]),
                    "off": 1e3 * learnt_s / cell["latencyMs"] - 1.0,
                }
            )
    return rows


if __name__ == "__main__":
    main()
