"""Knative's answers to random scripts, stored: the scripts themselves are made again from their seeds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from e2e.testbed.pins import GO_GROUPS

from .scripts import Script, random_script

STORED_ANSWERS = Path(__file__).resolve().parents[2] / "tests/conformance/upstream-answers.jsonl"
STORED_STEPS = 150

_FIELDS = ("Desired", "Ebc", "Valid", "NoData", "Stable", "Panic")


def stored_seed(index: int) -> str:
    """The seed of the n-th stored script."""
    return f"stored/{index}"


def write_answers(path: Path, answers: Sequence[dict[str, Any]]) -> None:
    """One line a script: when the oracle's clock began, and what it decided at each step."""
    version = next(group.version for group in GO_GROUPS if group.folder == "serving")
    scripts = [random_script(stored_seed(index), STORED_STEPS) for index in range(len(answers))]
    head = {"upstream": f"knative.dev/serving {version}", "fields": _FIELDS, "scripts": digest(scripts)}
    lines = [
        {"base_ns": each["BaseNs"], "results": [[result[name] for name in _FIELDS] for result in each["Results"]]}
        for each in answers
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line, separators=(",", ":")) + "\n" for line in (head, *lines)))


def read_answers(path: Path) -> Iterator[tuple[Script, dict[str, Any]]]:
    """Each script with its answer; ValueError where the scripts are not those that were answered."""
    head, *lines = map(json.loads, path.read_text().splitlines())
    scripts = [random_script(stored_seed(index), STORED_STEPS) for index in range(len(lines))]
    if digest(scripts) != head["scripts"]:
        raise ValueError(f"{path.name} answers other scripts than are made now: store it anew")
    for script, line in zip(scripts, lines, strict=True):
        results = [dict(zip(head["fields"], result, strict=True)) for result in line["results"]]
        yield script, {"BaseNs": line["base_ns"], "Results": results}


def digest(scripts: Sequence[Script]) -> str:
    """What says that two lists of scripts are the same."""
    return hashlib.sha256(msgspec.json.encode(scripts)).hexdigest()[:16]
