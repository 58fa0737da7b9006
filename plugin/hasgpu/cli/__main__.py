"""Process cli: the verbs. Imports nothing heavy: `--help` answers within 100 ms."""

from __future__ import annotations

from pathlib import Path

import click

from .explain import explain
from .options import Figure
from .profile import profile
from .simulate import simulate

_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
_CONTEXT = click.option("--context", metavar="NAME", help="Context of the kubeconfig; its current one by default.")
_TIMEOUT = click.option(
    "--timeout", "timeout_s", default=300.0, show_default=True, type=Figure(0.0), help="Seconds to wait at most."
)
_MANIFESTS = click.option("--manifests", type=_FOLDER, help="Folder of the release's manifests, instead of ours.")
_REGISTRY = click.option(
    "--registry", default="hasgpu.local", show_default=True, help="Where nodes find the images; REGISTRY/hasgpu-node:1."
)


# The no-break space makes the help say `kn hasgpu`, as other plugins of kn do.
@click.group(context_settings={"help_option_names": ["-h", "--help"]}, subcommand_metavar="COMMAND")
def cli() -> None:
    """Slices of GPUs for Knative services: a latency SLO held by vertical and horizontal autoscaling."""


@cli.command()
@_CONTEXT
@_MANIFESTS
@_REGISTRY
@_TIMEOUT
@click.option("--yes", "-y", is_flag=True, help="Do not ask before Knative's autoscaler is replaced.")
@click.option("--restart", is_flag=True, help="Start all pods anew, e.g. for images rebuilt under the same tag.")
@click.option("--force", is_flag=True, help="Also where Knative is told that a mesh hides pods.")
def install(
    context: str | None, manifests: Path | None, registry: str, timeout_s: float, yes: bool, restart: bool, force: bool
) -> None:
    """Install hasgpu into the cluster; run again, it brings everything up to date."""
    from .command import connected, saying
    from .install import Install
    from .release import Release

    if not yes:
        click.confirm("Replace the autoscaler of this cluster's Knative (uninstall puts it back)?", abort=True)
    with saying() as progress:
        release = Release.load(manifests, registry)
        Install(connected(context), progress, release, timeout_s, restart=restart, force=force).run()


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
@_REGISTRY
def manifest(manifests: Path | None, registry: str) -> None:
    """Print what install applies, as one YAML stream."""
    from .command import saying
    from .release import Release

    with saying():
        click.echo(Release.load(manifests, registry).to_yaml(), nl=False)


@cli.command()
def version() -> None:
    """Print the version."""
    from importlib.metadata import version as installed

    click.echo(f"hasgpu {installed('hasgpu')}")


cli.add_command(profile)


cli.add_command(simulate)
cli.add_command(explain)


def main() -> None:
    """Entry point of `kn-hasgpu`, which kn runs as `kn hasgpu`."""
    cli(prog_name="kn\u00a0hasgpu")


if __name__ == "__main__":
    main()
