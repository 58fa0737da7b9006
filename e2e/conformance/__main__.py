"""`python -m e2e.conformance`: random lives of revisions through both autoscalers."""

from __future__ import annotations

import sys
import time
from collections import Counter
from pathlib import Path

import click
import msgspec
from hasgpu.decision import delay_window, kpa, load_windows, windows

from e2e.testbed.toolchain import find_go

from .answers import STORED_ANSWERS, STORED_STEPS, stored_seed, write_answers
from .branches import Branches
from .compare import Oracle, first_difference, minimised, ours
from .scripts import random_script
from .situations import ALL, met

ROOT = Path(__file__).resolve().parents[2]
SCRIPT_STEPS = 200


def build_oracle() -> Path:
    """Compiles the oracle from Knative's modules; quick where Go's cache is warm."""
    binary = ROOT / ".testbed/bin/oracle"
    binary.parent.mkdir(parents=True, exist_ok=True)
    find_go().call(Path(__file__).parent / "oracle", "build", "-trimpath", "-tags", "faketime", "-o", str(binary), ".")
    return binary


@click.group()
def main() -> None:
    """Compare our autoscaling algorithm with Knative's own."""


@main.command()
@click.option("--seed", default=1, show_default=True, help="Seed of the random scripts.")
@click.option("--steps", default=1_000_000, show_default=True, help="Evaluations to compare, at least.")
def compare(seed: int, steps: int) -> None:
    """Evaluate random lives of revisions step by step with both; the first difference is minimised and shown."""
    oracle, begun, done = Oracle(build_oracle()), time.monotonic(), 0
    while done < steps:
        difference = first_difference(random_script(f"{seed}/{done}", SCRIPT_STEPS), oracle)
        if difference:
            least = minimised(difference, oracle)
            click.echo(msgspec.json.format(msgspec.json.encode(least.script), indent=1))
            click.echo(f"step {least.step}: ours {least.ours}\n          Knative's {least.upstream}")
            sys.exit(1)
        done += SCRIPT_STEPS
        if done % 50_000 == 0:
            click.echo(f"{done} steps agree, {time.monotonic() - begun:.0f} s", err=True)
    oracle.close()
    click.echo(f"seed {seed}: {done} steps, no difference")


@main.command()
@click.option("--seed", default=1, show_default=True, help="Seed of the random scripts.")
@click.option("--steps", default=1_000_000, show_default=True, help="Evaluations to count over; a prefix of compare's.")
@click.option("--least", default=1000, show_default=True, help="How often each branch must have been taken.")
def branches(seed: int, steps: int, least: int) -> None:
    """Count how often the scripts that `compare` plays take each branch of our algorithm. Needs no Go."""
    branches, situations, now_ns = Branches((kpa, windows, load_windows, delay_window)), Counter[str](), time.time_ns()
    with branches.counting():
        for done in range(0, steps, SCRIPT_STEPS):
            script = random_script(f"{seed}/{done}", SCRIPT_STEPS)
            spec = script.Spec
            for step, decided in zip(script.Steps, ours(script, now_ns), strict=True):
                spec = step.Spec or spec
                situations.update(met(spec, step, decided))
    for name, line, counts in branches.ways():
        click.echo(f"{name + ':' + str(line):24}{'  '.join(f'{count:>9}' for count in counts)}")
    for name in ALL:
        click.echo(f"{name:48}{situations[name]:>9}")
    seldom = branches.seldom(least) + [f"{name}: {situations[name]}" for name in ALL if situations[name] < least]
    if seldom:
        raise SystemExit("taken less than {} times:\n{}".format(least, "\n".join(seldom)))
    click.echo(f"seed {seed}: each branch taken {least} times or more in {steps} steps")


@main.command()
@click.option("--scripts", default=40, show_default=True, help="How many scripts to keep.")
def store(scripts: int) -> None:
    """Keep Knative's answers to some random scripts, for where there is no Go."""
    oracle = Oracle(build_oracle())
    answers = [oracle.answer(random_script(stored_seed(index), STORED_STEPS)) for index in range(scripts)]
    oracle.close()
    write_answers(STORED_ANSWERS, answers)
    click.echo(f"{scripts} scripts of {STORED_STEPS} steps stored in {STORED_ANSWERS.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
