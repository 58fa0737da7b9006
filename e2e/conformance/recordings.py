"""What is kept of a raw recording: each case once, calls to one object as one case, without what nobody reads."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

Line = dict[str, Any]

STORED = Path(__file__).resolve().parents[2] / "tests/conformance/upstream-tests.jsonl"
SEQUENCES = ("window", "maximum", "scale", "collection")
"""Kinds whose lines are calls to an object, to be replayed in order."""

_RACING = ("TestMetricCollectorScraperMovingTime",)
"""Upstream tests whose goroutines record while the test reads: the order of the lines is not that of the calls."""

_WITHOUT_STATUS = ("bounds", "decider", "initial", "metric", "target")
_UNREAD = ("containers", "lastProbeTime", "labels", "ownerReferences", "podIP", "objectRef", "scaleTargetRef")
_METADATA = ("annotations", "generation", "deletionTimestamp")


def compact(lines: Iterable[Line]) -> list[Line]:
    """The cases, in the order in which upstream's tests met them first."""
    cases: dict[str, Line] = {}
    for case in _joined(lines):
        case = _trimmed(case)
        if case["kind"] in _WITHOUT_STATUS:
            case["pa"].pop("status", None)
        cases.setdefault(json.dumps({**case, "test": ""}, sort_keys=True), case)
    return list(cases.values())


def write(path: Path, version: str, cases: Iterable[Line]) -> Counter[str]:
    """Stores the cases; how many there are of each kind. The few configurations stand in the first line."""
    counts: Counter[str] = Counter()
    configs: dict[str, int] = {}
    lines = []
    for case in cases:
        counts[case["kind"]] += 1
        if "config" in case:
            case = {**case, "config": configs.setdefault(json.dumps(case["config"]), len(configs))}
        lines.append(json.dumps(case, separators=(",", ":")))
    head = {"upstream": f"knative.dev/serving {version}", "configs": [json.loads(text) for text in configs]}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([json.dumps(head, separators=(",", ":")), *lines]) + "\n")
    return counts


def read(path: Path) -> tuple[str, list[Line]]:
    """The version that was recorded, and the cases."""
    head, *lines = path.read_text().splitlines()
    known = json.loads(head)
    cases = [json.loads(line) for line in lines]
    return known["upstream"], [
        {**case, "config": known["configs"][case["config"]]} if "config" in case else case for case in cases
    ]


def _joined(lines: Iterable[Line]) -> Iterator[Line]:
    """Lines of one object become one case; addresses are used again, so each "new" begins another."""
    open_cases: dict[tuple[str, str], Line] = {}
    done: list[Line] = []
    for line in lines:
        kind, test, key = line.pop("kind"), line.pop("test", ""), line.pop("id", "")
        if kind == "lost":
            raise ValueError(f"a call of kind {line['of']} was not recorded: {line['why']}")
        if test in _RACING:
            continue
        if kind not in SEQUENCES:
            yield {"kind": kind, "test": test, **line}
        elif line["op"] == "new":
            case = open_cases[kind, key] = {"kind": kind, "test": test, "ops": [line]}
            done.append(case)
        elif (kind, key) in open_cases:
            open_cases[kind, key]["ops"].append(line)
    yield from (case for case in done if len(case["ops"]) > 1)


def _trimmed(value: Any) -> Any:
    """Zero values are what a missing field reads as; of metadata only what is decided by is kept."""
    if isinstance(value, list):
        return [_trimmed(each) for each in value]
    if not isinstance(value, dict):
        return value
    kept = {}
    for name, each in value.items():
        if name == "metadata":
            kept[name] = {key: each[key] for key in _METADATA if key in each}
        elif name == "config" and each:
            kept[name] = {key: setting for key, setting in each.items() if setting}
        elif each is not None and name not in (
            "containers",
            "lastProbeTime",
            "labels",
            "ownerReferences",
            "podIP",
            "objectRef",
            "scaleTargetRef",
        ):
            kept[name] = _trimmed(each)
    return kept
