"""`python -m e2e.conformance --seed N --steps N`: random lives of revisions through both autoscalers."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import click
import msgspec

from .compare import Oracle, first_difference, minimised
from .scripts import random_script

ROOT = Path(__file__).resolve().parents[2]
SCRIPT_STEPS = 200


def build_oracle() -> Path:
    """Compiles the oracle from Knative's modules; quick where Go's cache is warm."""
    binary = ROOT / ".testbed/bin/oracle"
    binary.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["go", "build", "-trimpath", "-o", binary, "."], cwd=Path(__file__).parent / "oracle", check=True)
    return binary


@click.command()
@click.option("--seed", default=1, show_default=True, help="Seed of the random scripts.")
@click.option("--steps", default=1_000_000, show_default=True, help="Evaluations to compare, at least.")
def main(seed: int, steps: int) -> None:
    """Compare our autoscaling algorithm with Knative's own, step by step."""
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


if __name__ == "__main__":
    main()
