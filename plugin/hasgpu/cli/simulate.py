"""Process cli: the verb `simulate`: its options and its help. Imports nothing heavy; the work is in ``simulation``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from .options import Figure

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
POLICIES = (
    "hasgpu",
    "has-gpu-published",
    "has-gpu-intended",
    "fast-gshare",
    "kpa-whole",
    "kpa-static",
    "dilu-like",
    "infless-like",
    "clairvoyant-5s",
    "rate-5s",
    "bound",
)
_HELP = """Replay a workload through a policy in virtual time.

\b
W.csv   columns function,arrival_s   or   function,second,requests
        (Poisson within the second)
F.yaml  functions: a list of
          name, profile (LatencyProfile file: what the policy believes),
          truth (CSV batch,sm,quota,latency_ms under the launch gate: what
            the simulated GPU does; of several models in a column model
            the profile's; default: the profile),
          slo-latency, slo-percentile, sm-partition, time-quota,
          gpu-memory, batch-size (as the hasgpu.dev/ annotations),
          startup (8s), overhead (0ms: time outside the GPU),
          slo-base (violations are counted at multiples of it; default:
            overhead + latency at batch 1, 100 %, 100 %),
          min-scale, max-scale, priority (0: as a pod's)
        File names are relative to F.yaml; unknown keys are errors.
        CSV files may be gzipped (.gz), their columns in any order.
DIR     result.json (overall, and per function under "functions";
          gpu_seconds.least: what the requests that were in time must
          have cost under any policy),
        decisions.jsonl (read it with `kn hasgpu explain`), PNG plots
bound   what any policy that answers every request must allocate;
        its latencies are placeholders
"""


def _memory(_: click.Context, option: click.Parameter, text: str) -> int:
    from hasgpu.model.quantity import parse_bytes

    try:
        return parse_bytes(text)
    except ValueError as error:
        raise click.BadParameter(str(error), param=option) from error


@click.command(help=_HELP)
@click.option("--workload", required=True, type=_FILE, metavar="W.csv", help="The requests.")
@click.option("--functions", required=True, type=_FILE, metavar="F.yaml", help="The functions.")
@click.option("--gpus", required=True, type=click.IntRange(1, 10000), metavar="N", help="GPUs there are.")
@click.option("--policy", default="hasgpu", show_default=True, type=click.Choice(POLICIES), help="Who decides.")
@click.option("--gate", default="gpu-time", show_default=True, type=click.Choice(["gpu-time", "launch"]))
@click.option(
    "--row-policy",
    default="slots",
    show_default=True,
    type=click.Choice(["slots", "borrow"]),
    help="borrow: idle time of a row is lent (gate gpu-time), and billed.",
)
@click.option(
    "--lent-percent",
    default=0,
    show_default=True,
    type=click.IntRange(0, 90),
    metavar="N",
    help="With borrow: of each row given to nobody, which hasgpu counts on.",
)
@click.option(
    "--seed", default=0, show_default=True, type=click.IntRange(0), metavar="S", help="Same seed, same bytes."
)
@click.option("--output", required=True, type=click.Path(file_okay=False, path_type=Path), metavar="DIR")
@click.option("--gpu-memory", default="16Gi", show_default=True, callback=_memory, help="Of each GPU.")
@click.option(
    "--noise",
    default=0.05,
    show_default=True,
    type=Figure(0.0, 2.0),
    help="Deviation of service times (of their logarithm).",
)
@click.option(
    "--interference",
    default=0.0,
    show_default=True,
    type=Figure(0.0, 100.0),
    help="Slow-down beside busy rows; 0.2 is 20 %.",
)
@click.option(
    "--grace",
    default=0.0,
    show_default=True,
    type=Figure(0.0, 100.0),
    metavar="MS",
    help="How far past its slot a pod may spend time it saved (gate gpu-time). The shim lets it 2 ms, of which real"
    " servers get about half; at 0 slots are strict, as policies reckon.",
)
@click.option("--plots/--no-plots", default=True, show_default=True, help="PNG pictures of the run.")
def simulate(**told: Any) -> None:
    """The help is the command's own."""
    from .command import saying
    from .simulation import SimulationOrder, run_simulation

    with saying() as progress:
        result = run_simulation(SimulationOrder(**told), progress)
    shown = {key: result[key] for key in ("requests", "failed", "latency_ms", "violations", "mean_gpus", "changes")}
    click.echo("\n".join(f"  {key}: {value}" for key, value in shown.items()))
