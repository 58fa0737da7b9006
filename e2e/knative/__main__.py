"""`python -m e2e.knative run --autoscaler ours|upstream`, `python -m e2e.knative table`."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import click
from hasgpu.cluster.session import Session

from e2e.commands import ROOT, environment
from e2e.testbed.paths import KUBECONFIG, LOGS

from . import programs, stage
from .outcome import Outcome, Round, counts, keep, load, missed, read_outcomes, table
from .suite import SUITE, Group

RESULTS = ROOT / "docs/results/knative-e2e"


@click.group()
def main() -> None:
    """Knative's own end-to-end tests on the bed."""


@main.command()
def build() -> None:
    """Compile test programs and images."""
    programs.build()


@main.command()
@click.option("--autoscaler", type=click.Choice(["ours", "upstream"]), default="ours", show_default=True)
@click.option("--rounds", default=1, show_default=True)
@click.option("--group", "names", multiple=True, help="Only these groups of the suite.")
def run(autoscaler: stage.Autoscaler, rounds: int, names: tuple[str, ...]) -> None:
    """Run the suite and keep what became of each test."""
    os.environ["KUBECONFIG"] = str(KUBECONFIG)
    programs.build()
    programs.load_images()
    session = Session.connect(user_agent="hasgpu-e2e")
    failed = False
    with stage.set_up(session, autoscaler):
        for _ in range(rounds):
            begun = datetime.now(UTC).isoformat(timespec="seconds")
            outcomes = [
                o for group in SUITE if not names or group.name in names for o in _run(session, autoscaler, group)
            ]
            keep(RESULTS, Round(autoscaler=autoscaler, begun=begun, outcomes=tuple(outcomes)))
            click.echo(f"{autoscaler}: {counts(outcomes)}")
            failed |= any(outcome.verdict == "FAIL" for outcome in outcomes)
    sys.exit(failed)


@main.command(name="table")
def show() -> None:
    """Both autoscalers side by side, from the rounds that were kept; fails where ours fails what upstream passes."""
    rounds = load(RESULTS)
    click.echo("\n".join(table(rounds)))
    if worse := missed(rounds):
        raise SystemExit(f"passes with upstream's autoscaler and not with ours: {', '.join(worse)}")


def _run(session: Session, autoscaler: str, group: Group) -> list[Outcome]:
    stage.scale_autoscaler(session, group.replicas)
    stage.configure(group.settings, group.settings)
    log = LOGS / f"knative-e2e-{autoscaler}-{group.name}.log"
    with log.open("w") as out:
        subprocess.run(_command(group), cwd=Path("/tmp"), env=_environment(), stdout=out, stderr=out, check=False)
    outcomes = read_outcomes(log.read_text())
    click.echo(f"{group.name}: {counts(outcomes)} ({log})")
    for outcome in outcomes:
        if outcome.verdict != "PASS":
            click.echo(f"  {outcome.verdict} {outcome.test}")
    return outcomes or [Outcome(test=f"{group.name} (did not start)", verdict="FAIL", took_s=0.0)]


def _command(group: Group) -> list[str]:
    return [
        str(programs.PROGRAMS / group.binary),
        "-test.v",
        f"-test.run={group.pattern}",
        f"-test.parallel={group.parallel}",
        f"-test.timeout={group.timeout_s}s",
        f"-kubeconfig={KUBECONFIG}",
        f"-imagetemplate={programs.IMAGE_TEMPLATE}",
        f"-tag={programs.TAG}",
        f"-replicas={group.replicas}",
        "-buckets=1",
        "-disable-logstream",
    ]


def _environment() -> dict[str, str]:
    return {
        **environment(),
        "SYSTEM_NAMESPACE": "knative-serving",
        "GATEWAY_OVERRIDE": "kourier",
        "GATEWAY_NAMESPACE_OVERRIDE": "kourier-system",
    }


if __name__ == "__main__":
    main()
