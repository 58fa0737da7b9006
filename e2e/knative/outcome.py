"""What became of each test: read from `go test -v`, kept as JSON, shown side by side. Pure but for one file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

Verdict = Literal["PASS", "FAIL", "SKIP"]
_LINE = re.compile(r"^\s*--- (PASS|FAIL|SKIP): (\S+) \(([0-9.]+)s\)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One test in one round."""

    test: str
    verdict: Verdict
    took_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One run of the suite, or of a part of it."""

    autoscaler: str
    begun: str
    outcomes: tuple[Outcome, ...]


def read_outcomes(text: str) -> list[Outcome]:
    """Leaves only: a test that has subtests is what they are. One that began and never ended failed."""
    ended: dict[str, Outcome] = {}
    begun: list[str] = []
    for line in text.splitlines():
        if found := _LINE.match(line):
            verdict, test, took_s = found.groups()
            ended[test] = Outcome(test=test, verdict=verdict, took_s=float(took_s))  # type: ignore[arg-type]
        elif line.startswith("=== RUN"):
            begun.append(line.split()[-1])
    for test in begun:
        ended.setdefault(test, Outcome(test=test, verdict="FAIL", took_s=0.0))
    parents = {test.rsplit("/", 1)[0] for test in ended if "/" in test}
    return [outcome for test, outcome in ended.items() if test not in parents or _fails_alone(test, ended)]


def _fails_alone(parent: str, ended: Mapping[str, Outcome]) -> bool:
    children = [outcome for test, outcome in ended.items() if test.startswith(f"{parent}/")]
    return ended[parent].verdict == "FAIL" and all(child.verdict != "FAIL" for child in children)


def table(rounds: Sequence[Round]) -> Iterator[str]:
    """A Markdown table: passes of runs of each autoscaler, and the median time."""
    names = [name for name in ("upstream", "ours") if any(each.autoscaler == name for each in rounds)]
    yield "| test | " + " | ".join(f"{name}: passed, median s" for name in names) + " |"
    yield "|---" * (len(names) + 1) + "|"
    for test in sorted({outcome.test for each in rounds for outcome in each.outcomes}):
        cells = [
            _cell([o for r in rounds if r.autoscaler == name for o in r.outcomes if o.test == test]) for name in names
        ]
        yield f"| {test} | " + " | ".join(cells) + " |"


def _cell(outcomes: Sequence[Outcome]) -> str:
    if not outcomes:
        return "not run"
    ran = [outcome for outcome in outcomes if outcome.verdict != "SKIP"]
    if not ran:
        return "skips"
    times = sorted(outcome.took_s for outcome in ran)
    return f"{sum(o.verdict == 'PASS' for o in ran)}/{len(outcomes)}, {times[len(times) // 2]:.0f}"


def missed(rounds: Sequence[Round]) -> list[str]:
    """Tests that every run of upstream passed (or skipped) and not every run of ours did."""
    lists: dict[str, dict[str, list[Verdict]]] = {"upstream": {}, "ours": {}}
    for each in rounds:
        for outcome in each.outcomes:
            lists[each.autoscaler].setdefault(outcome.test, []).append(outcome.verdict)
    return [
        test
        for test, verdicts in sorted(lists["upstream"].items())
        if "FAIL" not in verdicts
        and any(verdict != "PASS" and verdict not in verdicts for verdict in lists["ours"].get(test, ["FAIL"]))
    ]


def load(folder: Path) -> list[Round]:
    """All rounds kept."""
    return [msgspec.json.decode(file.read_bytes(), type=Round) for file in sorted(folder.glob("*.json"))]


def keep(folder: Path, round_: Round) -> Path:
    """One round more."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{round_.begun.replace(':', '')}-{round_.autoscaler}.json"
    path.write_bytes(msgspec.json.format(msgspec.json.encode(round_), indent=1))
    return path


def counts(outcomes: Iterable[Outcome]) -> str:
    """In words."""
    verdicts = [outcome.verdict for outcome in outcomes]
    return f"{verdicts.count('PASS')} passed, {verdicts.count('FAIL')} failed, {verdicts.count('SKIP')} skipped"
