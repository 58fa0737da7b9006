"""`make demo`: two functions share an emulated GPU under a load like the paper's. Needs hasgpu installed."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

import click
from hasgpu.cluster.session import Session
from rich.console import Console
from rich.progress import Progress

from e2e.commands import ROOT, environment
from e2e.load.arrivals import Arrival, ebbing, merged, paper_like_slots, poisson
from e2e.load.replay import Outcome, Target, replay

from . import stage
from .functions import FUNCTIONS, ingress_address
from .kernels import shares_around
from .plot import draw
from .story import events_by_type, linked_story
from .summary import Run, summarise
from .watcher import Watcher

SLOT_S = 5.0
SLOTS = 50
"""As in the paper."""
FAST_SLOTS, FAST_EBB_SLOTS, EBB_PER_S = 15, 6, 2.0
"""What is too short for a scale-in under the paper's least load ends with less than that."""
SEED = 1
console = Console(stderr=True, highlight=False)


def arrivals_for(fast: bool) -> tuple[Arrival, ...]:
    """Each function has a load of its own; the seed is fixed so that runs compare."""
    streams, count = [], FAST_SLOTS if fast else SLOTS
    for index, function in enumerate(FUNCTIONS):
        rates = paper_like_slots(count, length_s=SLOT_S, low=5.0, high=15.0, seed=SEED + index)
        if fast:
            rates = ebbing(rates, FAST_EBB_SLOTS, EBB_PER_S)
        streams.append(poisson(function.name, rates, SEED))
    return merged(streams)


def load(arrivals: tuple[Arrival, ...], targets: dict[str, Target], begin: float, watcher: Watcher) -> list[Outcome]:
    """Replays with a progress bar that shows quotas as they are now."""
    with Progress(console=console, transient=False) as progress:
        task = progress.add_task("load", total=len(arrivals))

        def done(_: Outcome) -> None:
            progress.update(task, advance=1, description=status_line(watcher))

        return asyncio.run(replay(arrivals, targets, on_outcome=done, started_at=begin))


def status_line(watcher: Watcher) -> str:
    """`resnet50 20% | convnext-large 70%+35%`: the quotas of the pods that hold a slice."""
    parts = []
    for function in FUNCTIONS:
        pods = [s for s in watcher.timeline.at(float("inf"), function.name) if not s.terminating]
        parts.append(f"{function.name} {'+'.join(f'{s.quota_percent}%' for s in pods) or 'zero'}")
    return " | ".join(parts)


def wait_for_zero(watcher: Watcher, begin: float, timeout_s: float) -> dict[str, float | None]:
    """Seconds from now until each function has no pod; None where that did not happen in time."""
    start, gone = time.monotonic(), dict[str, float | None]()
    while len(gone) < len(FUNCTIONS) and time.monotonic() - start < timeout_s:
        for function in FUNCTIONS:
            if function.name not in gone and not watcher.pods_left(function.name):
                gone[function.name] = round(time.monotonic() - start, 1)
                console.print(f"  {function.name}: zero pods after {gone[function.name]} s")
        time.sleep(0.2)
    return {function.name: gone.get(function.name) for function in FUNCTIONS}


def wake(targets: dict[str, Target]) -> list[Outcome]:
    """One request each, to functions at zero."""
    outcomes = []
    for function in FUNCTIONS:
        outcomes += asyncio.run(replay([Arrival(0.0, function.name)], targets))
    return outcomes


def show(result: dict[str, Any], output: Path) -> None:
    """Prints the summary and where the files are."""
    console.print_json(json.dumps(result))
    console.print(f"written: {output / 'result.json'}, {output / 'timeline.png'} (GPU: emulated)")


@click.command()
@click.option("--fast", is_flag=True, help="15 slots of 5 s instead of 50, the last of them calm.")
@click.option("--output", type=click.Path(path_type=Path), default=ROOT / "demo", help="Where results are written.")
@click.option("--keep", is_flag=True, help="Leave functions and receivers in place afterwards.")
def main(fast: bool, output: Path, keep: bool) -> None:
    """Scale two functions up, out, in, to zero, and wake them; exit 1 where a promise was not kept."""
    output.mkdir(parents=True, exist_ok=True)
    try:
        console.print("receivers for traces and events")
        stage.receivers_up()
        console.print("functions: kn service create " + ", ".join(function.name for function in FUNCTIONS))
        stage.functions_up()
        result = perform(fast, output)
        show(result, output)
    finally:
        if not keep:
            stage.cleared()
    failed = [name for name, kept in result["checks"].items() if not kept]
    for name in failed:
        console.print(f"[red]not seen: {name}")
    sys.exit(1 if failed else 0)


def perform(fast: bool, output: Path) -> dict[str, Any]:
    """Load, idle, wake; returns the result that is also written to result.json."""
    targets = {f.name: f.target(stage.NAMESPACE, ingress_address()) for f in FUNCTIONS}
    watcher = Watcher(Session.connect(), stage.NAMESPACE)
    arrivals = arrivals_for(fast)
    begin = time.monotonic() + 1.0
    watcher.start(begin)
    outcomes = load(arrivals, targets, begin, watcher)
    console.print("idle: waiting for zero pods")
    zero = wait_for_zero(watcher, begin, 180.0)
    console.print("one request each wakes them")
    woken = wake(targets)
    watcher.stop()
    run = Run(
        load_s=(FAST_SLOTS if fast else SLOTS) * SLOT_S,
        slo_s={function.name: function.slo_ms / 1e3 for function in FUNCTIONS},
        outcomes=outcomes,
        timeline=watcher.timeline,
        wake=woken,
        zero_after_s=zero,
        kernel_shares=shares_around(watcher.timeline.quota_changes(), begin),
    )
    result = summarise(run)
    story = linked_story(stage.received("spans"))
    result["story"] = [span["name"] for span in story or []]
    result["events"] = events_by_type(stage.received("events"))
    result["checks"]["one linked trace of four stages"] = story is not None
    result["checks"]["events of scale and quota"] = len(result["events"]) >= 2
    (output / "result.json").write_text(json.dumps(result, indent=2) + "\n")
    draw(run, output / "timeline.png")
    return result


if __name__ == "__main__":
    import os

    os.environ.update(environment())
    main()
