"""`python -m e2e.conformance.record tests`: runs upstream's own unit tests and writes down what its functions answered.

Each `recorder/PATH/record.go` goes into a copy of Knative's package `pkg/PATH`, in which the functions that it declares
are renamed: `Scale` becomes `upstreamScale`, so that callers get the recording one. Nothing of Knative is kept here;
the recordings are stored with the tests, with the version that made them.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import click

from e2e.testbed.paths import CACHE, GO_GROUPS
from e2e.testbed.pins import GO_GROUPS as PINNED
from e2e.testbed.toolchain import find_go

from .recordings import STORED, compact, write
from .replay import REPLAYS, Case

RECORDER = Path(__file__).with_name("recorder")
MODULE = "knative.dev/serving"
FOLDER = GO_GROUPS / "serving"
VERSION = next(group.version for group in PINNED if group.module == MODULE)

_DECLARED = re.compile(r"^func (?:\(\w+ (\*?\w+)\) )?(\w+)\(", re.MULTILINE)


def wrapped_copy(module: Path, copy: Path) -> list[str]:
    """A copy of the module with the recorders in place; the packages that have one."""
    shutil.copytree(module, copy, ignore=shutil.ignore_patterns("vendor", "third_party", "docs"))
    for folder in (copy, *copy.rglob("*/")):
        folder.chmod(0o755)
    packages = []
    for wrapper in sorted(RECORDER.rglob("record.go")):
        package = copy / "pkg" / wrapper.parent.relative_to(RECORDER)
        package.mkdir(exist_ok=True)
        text = wrapper.read_text()
        declared = {found for found in _DECLARED.findall(text) if f"upstream{_capitalised(found[1])}" in text}
        for source in package.glob("*.go"):
            if not source.name.endswith("_test.go"):
                source.chmod(0o644)
                source.write_text(_renamed(source.read_text(), declared))
        for ours in wrapper.parent.glob("*.go"):
            shutil.copy(ours, package)
        if declared:
            packages.append(f"{MODULE}/{package.relative_to(copy)}")
    # The tests read the shipped ConfigMap through a link, and module zips hold no links.
    shipped = copy / "pkg/autoscaler/config/testdata/config-autoscaler.yaml"
    shipped.parent.mkdir(exist_ok=True)
    shutil.copy(module / "config/core/configmaps/autoscaler.yaml", shipped)
    return packages


def _renamed(text: str, declared: set[tuple[str, str]]) -> str:
    """These declarations under the name that the wrapper calls."""

    def rename(found: re.Match[str]) -> str:
        if (found[1] or "", found[2]) not in declared:
            return found[0]
        return found[0].replace(f"{found[2]}(", f"upstream{_capitalised(found[2])}(")

    return _DECLARED.sub(rename, text)


def _capitalised(name: str) -> str:
    return name[0].upper() + name[1:]


def record(out: Path, *arguments: str, only: str = "", **environment: str) -> None:
    """Runs the tests of every package that has a recorder, or of one package alone."""
    go = find_go()
    module = Path(go.call(FOLDER, "list", "-m", "-f", "{{.Dir}}", MODULE).strip())
    # Always at the same place: the compiler's cache goes by paths.
    copy, modfile = CACHE / "recorder/serving", CACHE / "recorder/go.mod"
    shutil.rmtree(copy.parent, ignore_errors=True)
    packages = [
        package for package in wrapped_copy(module, copy) if only in ("", package.removeprefix(f"{MODULE}/pkg/"))
    ]
    modfile.write_text((FOLDER / "go.mod").read_text() + f"\nreplace {MODULE} => {copy}\n")
    shutil.copy(FOLDER / "go.sum", modfile.with_suffix(".sum"))
    # One package and one test at a time, so that the lines of a test follow each other.
    command = [go.program, "test", "-count=1", "-p=1", "-parallel=1", f"-modfile={modfile}", *arguments, *packages]
    given = {**go.environment, "RECORDING": str(out), "SYSTEM_NAMESPACE": "knative-serving", **environment}
    done = subprocess.run(command, cwd=FOLDER, env=given, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"upstream's tests failed\n{done.stdout[-3000:]}{done.stderr[-3000:]}")


def lines(path: Path) -> Iterator[Case]:
    """A raw recording."""
    with path.open() as file:
        for line in file:
            yield json.loads(line)


@click.group()
def main() -> None:
    """Knative's own answers, recorded."""


@main.command()
def tests() -> None:
    """Store what upstream's unit tests call, anew."""
    with tempfile.TemporaryDirectory() as folder:
        # Some random PodAutoscalers too: they go where upstream's tables do not.
        record(raw := Path(folder, "raw.jsonl"), RANDOM_SEED="1", RANDOM_CASES="60")
        counts = write(STORED, VERSION, compact(lines(raw)))
    for kind, count in sorted(counts.items()):
        click.echo(f"{kind:12}{count:6}")


@main.command()
@click.option("--seed", default=1, show_default=True, help="Seed of the random cases.")
@click.option("--cases", default=20_000, show_default=True, help="How many of each kind.")
def reconciler(seed: int, cases: int) -> None:
    """Compare bounds, the way to zero, statuses and the reading of annotations on random PodAutoscalers."""
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder, "raw.jsonl")
        chosen = {"RANDOM_SEED": str(seed), "RANDOM_CASES": str(cases)}
        record(raw, "-run=^TestRandom$", "-timeout=1h", only="reconciler/autoscaling/kpa", **chosen)
        counts: Counter[str] = Counter()
        for case in lines(raw):
            counts[case["kind"]] += 1
            try:
                REPLAYS[case["kind"]](case)
            except AssertionError as difference:
                raise SystemExit(f"{json.dumps(case, indent=1)}\n{case['kind']}: ours differs: {difference}") from None
    summary = ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))
    click.echo(f"seed {seed}: no difference in {summary}")


if __name__ == "__main__":
    main()
