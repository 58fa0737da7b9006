"""`python -m e2e.conformance.mutants`: small mistakes planted in our algorithm, one at a time; the stored answers of
Knative must tell each of them from the truth. A mutant that survives shows what the vectors do not look at."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "plugin/hasgpu"
VECTORS = "tests/conformance"


@dataclass(frozen=True, slots=True)
class Mutant:
    """A mistake: in ``file``, ``right`` is written as ``wrong``."""

    file: str
    right: str
    wrong: str


MUTANTS = (
    Mutant("decision/kpa.py", "ready = max(1.0, float(ready_pods))", "ready = float(ready_pods) or 0.5"),
    Mutant("decision/kpa.py", "now if ready_pods > 1 else None", "now if ready_pods > 0 else None"),
    Mutant("decision/kpa.py", "wanted_panic / ready >= spec", "wanted_panic / ready > spec"),
    Mutant("decision/kpa.py", "stable_window_s < now", "stable_window_s <= now"),
    Mutant("decision/kpa.py", "self._max_panic_pods = 0", "pass"),
    Mutant(
        "decision/kpa.py", "max(desired, _limited(spec, ready, wanted_panic))", "_limited(spec, ready, wanted_panic)"
    ),
    Mutant("decision/kpa.py", "if spec.reachable and self._delay is not None", "if self._delay is not None"),
    Mutant(
        "decision/kpa.py", "math.ceil(spec.max_scale_up_rate * ready)", "math.floor(spec.max_scale_up_rate * ready)"
    ),
    Mutant("decision/kpa.py", "if spec.reachable else 0", "if True else 0"),
    Mutant("decision/kpa.py", "spec.activation_scale > 1 and wanted > 0", "spec.activation_scale > 1 and limited > 0"),
    Mutant("decision/kpa.py", "math.floor(ready_pods * spec.total_value", "math.ceil(ready_pods * spec.total_value"),
    Mutant(
        "decision/windows.py",
        "elif (last - bucket) * self._granularity_s >= self.window_s",
        "elif (last - bucket) * self._granularity_s > self.window_s",
    ),
    Mutant("decision/windows.py", "or self._first > bucket", "or self._first < bucket"),
    Mutant(
        "decision/windows.py",
        "if (bucket - last) * self._granularity_s >= self.window_s",
        "if (bucket - last) * self._granularity_s > self.window_s",
    ),
    Mutant(
        "decision/windows.py",
        "self._last) * self._granularity_s > self.window_s",
        "self._last) * self._granularity_s >= self.window_s",
    ),
    Mutant("decision/windows.py", "min(written, size - silent)", "min(written, size)"),
    Mutant("decision/windows.py", "self._last - (len(old) - 1)", "self._last - len(old)"),
    Mutant("decision/windows.py", "_LEAST_WEIGHT = 0.2", "_LEAST_WEIGHT = 0.19"),
    Mutant("decision/windows.py", "range(last, last - (size - silent), -1)", "range(last, last - size, -1)"),
    Mutant("decision/windows.py", "whole + 1 if millionths - whole >= 0.5 else whole", "whole"),
    Mutant("decision/delay_window.py", "slot - maxima[0][0] >= self._size", "slot - maxima[0][0] > self._size"),
    Mutant("decision/delay_window.py", "value = max(value, maxima.pop()[1])", "maxima.pop()"),
    Mutant("decision/load_windows.py", " - stat.average_proxied_concurrent_requests", ""),
    Mutant("decision/load_windows.py", "if scraped and stable", "if stable"),
    Mutant("decision/pod_scale.py", 'desired < 0 and activity.status != "Unknown"', "desired < 0"),
    Mutant("decision/pod_scale.py", "not initialized and bounds.reachable", "not initialized"),
    Mutant("decision/pod_scale.py", "bounds.most != 0 and desired > bounds.most", "desired > bounds.most"),
    Mutant(
        "decision/pod_scale.py", "activity.for_s < policy.stable_window_s", "activity.for_s < policy.grace_period_s"
    ),
    Mutant("decision/pod_scale.py", "max(policy.grace_period_s, policy.retention_s)", "policy.grace_period_s"),
    Mutant("autoscaler/pa_status.py", 'status == "Unknown" and enough > 0', 'status == "Unknown"'),
    Mutant("autoscaler/pa_status.py", "want != UNKNOWN or self.desired_scale is None", "want != UNKNOWN"),
    Mutant("autoscaler/revision_spec.py", "max(panic_s, BUCKET_S)", "panic_s"),
    Mutant("autoscaler/revision_spec.py", "total = min(wished, float(concurrency))", "total = wished"),
    Mutant(
        "autoscaler/revision_spec.py", "wished == 0 and not settings.allow_zero", "wished == 0 and settings.allow_zero"
    ),
)


def survives(mutant: Mutant) -> bool:
    """Whether the vectors pass in spite of the mistake; raises ValueError where the code has changed meanwhile."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "hasgpu")
        shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
        text = (copy / mutant.file).read_text()
        if text.count(mutant.right) != 1:
            raise ValueError(f"{mutant.file} does not have {mutant.right!r} once: renew this mutant")
        (copy / mutant.file).write_text(text.replace(mutant.right, mutant.wrong))
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", VECTORS]
        environment = {**os.environ, "PYTHONPATH": folder, "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode > 1:
        raise RuntimeError(f"the tests did not run: {done.stdout[-1000:]}{done.stderr[-1000:]}")
    return done.returncode == 0


@click.command()
def main() -> None:
    """Plant each mistake and see whether Knative's stored answers tell."""
    left = []
    for mutant in MUTANTS:
        alive = survives(mutant)
        left += [mutant] * alive
        click.echo(
            f"{'SURVIVES' if alive else 'caught':9} {mutant.file}: {mutant.right} -> {mutant.wrong or '(nothing)'}"
        )
    click.echo(f"{len(MUTANTS) - len(left)} of {len(MUTANTS)} mutants caught")
    sys.exit(bool(left))


if __name__ == "__main__":
    main()
