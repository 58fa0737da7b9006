"""`python -m e2e.autoscaler_bench`: both autoscalers in one run on one machine; a line for each cell."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import click

from . import fakes
from .candidate import Name
from .cells import Plan, measure, shown
from .plane import ROOT, Plane
from .revisions import Revisions

RESULTS = ROOT / "docs/results/autoscaler-bench.jsonl"


@click.command()
@click.option("-n", "sizes", multiple=True, type=int, default=(100, 1000), show_default=True, help="Revisions.")
@click.option("--mode", "modes", multiple=True, type=click.Choice(["push", "scrape"]), default=("push", "scrape"))
@click.option(
    "--autoscaler", "names", multiple=True, type=click.Choice(["ours", "upstream"]), default=("upstream", "ours")
)
@click.option("--per-namespace", default=20, show_default=True)
@click.option("--window", "window_s", default=60.0, show_default=True, help="Seconds over which CPU is taken.")
@click.option("--warm-up", "warm_up_s", default=65.0, show_default=True)
@click.option("--samples", default=20, show_default=True, help="Latency samples.")
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS, show_default=True)
def main(
    sizes: tuple[int, ...],
    modes: tuple[str, ...],
    names: tuple[Name, ...],
    per_namespace: int,
    window_s: float,
    warm_up_s: float,
    samples: int,
    out: Path,
) -> None:
    """Measure both autoscalers. Upstream's cold start is only waited for up to 100 revisions: it takes 0.5 s each."""
    fakes.build()
    plan = Plan(warm_up_s=warm_up_s, window_s=window_s, samples=samples)
    out.parent.mkdir(parents=True, exist_ok=True)
    for count in sizes:
        for mode in modes:
            for name in names:
                plane = Plane()
                try:
                    revisions = Revisions(plane, count, per_namespace, pushed=mode == "push")
                    if name == "upstream" and count > 100:
                        # Ours brings the objects to the state that upstream's would bring them to.
                        measure(plane, revisions, "ours", Plan(warm_up_s=0, window_s=0.1, samples=0), cold=True)
                        row = measure(plane, revisions, name, plan, cold=False)
                    else:
                        row = measure(plane, revisions, name, plan, cold=True)
                finally:
                    plane.stop()
                click.echo(json.dumps(shown(row)))
                with out.open("a") as file:
                    file.write(json.dumps({"at": datetime.now(UTC).isoformat(timespec="minutes"), **shown(row)}) + "\n")


if __name__ == "__main__":
    main()
