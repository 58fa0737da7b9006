"""`python -m e2e.autoscaler_bench`: both autoscalers in one run on one machine; a line for each cell."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import click

from . import copies, fakes
from .candidate import Name
from .cells import Plan, measure
from .line import tell
from .plane import Plane
from .revisions import Revisions

COLD_UPSTREAM = 100
"""Revisions."""


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
@click.option("--copied", is_flag=True, help="Make one revision and copy it, settled, in etcd: no cold start.")
@click.option("--out", type=click.Path(path_type=Path), help="A file that the lines are added to.")
def main(
    sizes: tuple[int, ...],
    modes: tuple[str, ...],
    names: tuple[Name, ...],
    per_namespace: int,
    window_s: float,
    warm_up_s: float,
    samples: int,
    copied: bool,
    out: Path | None,
) -> None:
    """Measure both autoscalers, on the same objects.

    Upstream's cold start is only waited for up to 100 revisions, since it takes 0.5 s each: beyond that, ours comes
    first and brings the objects to the state that upstream's would bring them to.
    """
    fakes.build()
    plan = Plan(warm_up_s=warm_up_s, window_s=window_s, samples=samples, settled=copied)
    for count in sizes:
        for mode in modes:
            groups = [(name,) for name in names] if count <= COLD_UPSTREAM else [tuple(sorted(names))]
            for group in groups:
                make = copies.copied if copied else Revisions
                _measure(
                    partial(make, count=count, per_namespace=per_namespace, pushed=mode == "push"), group, plan, out
                )


def _measure(make: Callable[[Plane], Revisions], names: tuple[Name, ...], plan: Plan, out: Path | None) -> None:
    plane = Plane()
    try:
        revisions = make(plane)
        for place, name in enumerate(names):
            tell(measure(plane, revisions, name, plan, cold=place == 0 and not plan.settled), out)
    finally:
        plane.stop()


if __name__ == "__main__":
    main()
