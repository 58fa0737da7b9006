"""`python -m e2e.knative run --autoscaler ours|upstream`, `python -m e2e.knative table`."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import groupby
from operator import attrgetter
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
    template = programs.load_images()
    session = Session.connect(user_agent="hasgpu-e2e")
    failed = False
    with stage.set_up(session, autoscaler):
        for _ in range(rounds):
            begun = datetime.now(UTC).isoformat(timespec="seconds")
            outcomes = []
            for _, turn in groupby((g for g in SUITE if not names or g.name in names), key=attrgetter("turn")):
                outcomes += _turn(session, autoscaler, list(turn), template)
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


def _turn(session: Session, autoscaler: str, groups: Sequence[Group], template: str) -> list[Outcome]:
    """Groups beside each other."""
    stage.scale_autoscaler(session, groups[0].replicas)
    stage.configure(groups[0].settings, groups[0].settings)
    running = []
    for group in groups:
        log = LOGS / f"knative-e2e-{autoscaler}-{group.name}.log"
        with log.open("w") as out:
            command = _command(group, template)
            running.append(
                (group, log, subprocess.Popen(command, cwd="/tmp", env=_environment(), stdout=out, stderr=out))
            )
    outcomes: list[Outcome] = []
    for group, log, program in running:
        program.wait()
        outcomes += _told(group, log)
    return outcomes


def _told(group: Group, log: Path) -> list[Outcome]:
    outcomes = read_outcomes(log.read_text())
    click.echo(f"{group.name}: {counts(outcomes)} ({log})")
    for outcome in outcomes:
        if outcome.verdict != "PASS":
            click.echo(f"  {outcome.verdict} {outcome.test}")
    return outcomes or [Outcome(test=f"{group.name} (did not start)", verdict="FAIL", took_s=0.0)]


def _command(group: Group, template: str) -> list[str]:
    return [
        str(programs.PROGRAMS / group.binary),
        "-test.v",
        f"-test.run={group.pattern}",
        f"-test.parallel={group.parallel}",
        f"-test.timeout={group.timeout_s}s",
        f"-kubeconfig={KUBECONFIG}",
        f"-imagetemplate={template}",
        f"-dockerrepo={programs.REGISTRY}",
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
