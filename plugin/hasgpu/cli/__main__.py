"""Process cli: the verbs. Imports nothing heavy: `--help` answers within 100 ms."""

from __future__ import annotations

import sys
from pathlib import Path

import click

_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
_CONTEXT = click.option("--context", metavar="NAME", help="Context of the kubeconfig; its current one by default.")
_TIMEOUT = click.option("--timeout", "timeout_s", default=300.0, show_default=True, help="Seconds to wait at most.")
_MANIFESTS = click.option("--manifests", type=_FOLDER, help="Folder of the release's manifests, instead of ours.")


# The no-break space makes the help say `kn hasgpu`, as other plugins of kn do.
@click.group(context_settings={"help_option_names": ["-h", "--help"]}, subcommand_metavar="COMMAND")
def cli() -> None:
    """Slices of GPUs for Knative services: a latency SLO held by vertical and horizontal autoscaling."""


@cli.command()
@_CONTEXT
@_MANIFESTS
@_TIMEOUT
@click.option("--yes", "-y", is_flag=True, help="Do not ask before Knative's autoscaler is replaced.")
@click.option("--restart", is_flag=True, help="Start all pods anew, e.g. for images rebuilt under the same tag.")
def install(context: str | None, manifests: Path | None, timeout_s: float, yes: bool, restart: bool) -> None:
    """Install hasgpu into the cluster; run again, it brings everything up to date."""
    from .command import connected, saying
    from .install import Install

    if not yes and sys.stdin.isatty():
        click.confirm("Replace the autoscaler of this cluster's Knative (uninstall puts it back)?", abort=True)
    with saying() as progress:
        Install.prepare(connected(context), progress, manifests, timeout_s, restart=restart).run()


@cli.command()
@_CONTEXT
@_MANIFESTS
@_TIMEOUT
@click.option("--force", is_flag=True, help="Delete the GPU services first, and the latency profiles at last.")
def uninstall(context: str | None, manifests: Path | None, timeout_s: float, force: bool) -> None:
    """Remove hasgpu and put Knative's own autoscaler back; refuses while there are GPU services."""
    from .command import connected, saying
    from .uninstall import Uninstall

    with saying() as progress:
        Uninstall.prepare(connected(context), progress, manifests, timeout_s, force=force).run()


@cli.command()
@_MANIFESTS
def manifest(manifests: Path | None) -> None:
    """Print what install applies, as one YAML stream."""
    from .release import Release

    click.echo(Release.load(manifests).to_yaml(), nl=False)


_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_POLICIES = (
    "hasgpu",
    "kpa-whole",
    "kpa-static",
    "clairvoyant-5s",
    "rate-5s",
)


@cli.command()
@click.option("--workload", required=True, type=_FILE, metavar="W.csv", help="The requests.")
@click.option("--functions", required=True, type=_FILE, metavar="F.yaml", help="The functions.")
@click.option("--gpus", required=True, type=click.IntRange(1, 10000), metavar="N", help="GPUs there are.")
@click.option("--policy", default="hasgpu", show_default=True, type=click.Choice(_POLICIES), help="Who decides.")
@click.option("--gate", default="gpu-time", show_default=True, type=click.Choice(["gpu-time", "launch"]))
@click.option("--seed", default=0, show_default=True, metavar="S", help="Same seed, same bytes.")
@click.option("--output", required=True, type=click.Path(file_okay=False, path_type=Path), metavar="DIR")
@click.option("--gpu-memory", default="16Gi", show_default=True, help="Of each GPU.")
@click.option("--noise", default=0.05, show_default=True, help="Deviation of service times (of their logarithm).")
@click.option("--interference", default=0.0, show_default=True, help="Slow-down beside busy rows, 0.2: 20 %.")
@click.option("--plots/--no-plots", default=True, show_default=True, help="PNG pictures of the run.")
def simulate(
    workload: Path,
    functions: Path,
    gpus: int,
    policy: str,
    gate: str,
    seed: int,
    output: Path,
    gpu_memory: str,
    noise: float,
    interference: float,
    plots: bool,
) -> None:
    """Replay a workload through a policy in virtual time.

    \b
    W.csv   columns function,arrival_s   or   function,second,requests
            (Poisson within the second)
    F.yaml  functions: a list of
              name, profile (LatencyProfile file: what the policy believes),
              truth (CSV batch,sm,quota,latency_ms under the launch gate: what
                the simulated GPU does; default: the profile),
              slo-latency, slo-percentile, sm-partition, time-quota,
              gpu-memory, batch-size (as the hasgpu.dev/ annotations),
              startup (8s), overhead (0ms: time outside the GPU),
              slo-base (violations are counted at multiples of it),
              min-scale, max-scale
            File names are relative to F.yaml; unknown keys are errors.
    DIR     result.json (overall, and per function under "functions"),
            decisions.jsonl (read it with `kn hasgpu explain`), PNG plots
    """
    from hasgpu.model.quantity import parse_bytes

    from .command import saying
    from .simulate import SimulationOrder, run_simulation

    try:
        memory_bytes = parse_bytes(gpu_memory)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--gpu-memory") from error
    order = SimulationOrder(
        workload=workload,
        functions=functions,
        gpus=gpus,
        gpu_memory_bytes=memory_bytes,
        policy=policy,
        gate=gate,
        seed=seed,
        output=output,
        noise=noise,
        interference=interference,
        plots=plots,
    )
    with saying() as progress:
        result = run_simulation(order, progress)
    shown = {key: result[key] for key in ("requests", "failed", "latency_ms", "violations", "mean_gpus", "changes")}
    click.echo("\n".join(f"  {key}: {value}" for key, value in shown.items()))


@cli.command()
def version() -> None:
    """Print the version."""
    from importlib.metadata import version as installed

    click.echo(f"hasgpu {installed('hasgpu')}")


def main() -> None:
    """Entry point of `kn-hasgpu`, which kn runs as `kn hasgpu`."""
    cli(prog_name="kn\u00a0hasgpu")


if __name__ == "__main__":
    main()
