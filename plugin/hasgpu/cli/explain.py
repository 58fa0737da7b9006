"""Process cli: the verb `explain`: the last decisions of a revision as short trees of reasons.

Reads the log lines of the live autoscaler, or the decisions file of a simulation: both say the same things.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import click


@click.command()
@click.argument("revision")
@click.option("--namespace", "-n", default="default", show_default=True, help="Of the revision.")
@click.option("--last", default=5, show_default=True, type=click.IntRange(1), help="So many decisions.")
@click.option(
    "--from",
    "folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    help="A simulation's output instead of the live autoscaler; REVISION is then a function's name.",
)
@click.option("--context", metavar="NAME", help="Context of the kubeconfig; its current one by default.")
def explain(revision: str, namespace: str, last: int, folder: Path | None, context: str | None) -> None:
    """Show why REVISION has the quota and the pods it has."""
    from .command import Trouble, saying

    with saying():
        if folder is not None:
            told = [(str(each["revision"]), each) for each in decisions(_simulated(folder))]
        else:
            from .live_log import lines

            told = [(_name(each, namespace), each) for each in decisions(lines(context))]
        found = [each for name, each in told if name == revision]
        if not found:
            known = ", ".join(sorted({name for name, _ in told}))
            others = f"only about: {known}" if known else "nor about any other"
            raise Trouble(f"no decision about {revision} was found, {others}")
        for each in found[-last:]:
            click.echo(tree(each))


def decisions(lines: Iterable[str]) -> Iterator[Mapping[str, Any]]:
    """The decisions among log lines; everything else, and what is no JSON, is passed over."""
    for line in lines:
        try:
            told = json.loads(line)
        except ValueError:
            continue
        if isinstance(told, dict) and isinstance(told.get("reasons"), list) and "revision" in told:
            yield told


def tree(told: Mapping[str, Any]) -> str:
    """One decision: when and what, below it the reasons, each with its facts."""
    branches = [_reason(each) for each in told["reasons"]]
    demand, capacity = told.get("demand_requests_per_s"), told.get("capacity_requests_per_s")
    if demand is not None:
        branches.insert(0, f"demand {demand:.4g}/s, capacity {capacity or 0.0:.4g}/s")
    branches += [f"{pod}: {change}" for pod, change in (told.get("quota_changes") or {}).items()]
    lines = [f"{'└─' if branch is branches[-1] else '├─'} {branch}" for branch in branches]
    return "\n".join([_head(told), *lines])


def _name(told: Mapping[str, Any], namespace: str) -> str:
    """A revision of another namespace is named with it."""
    there = told.get("namespace")
    return str(told["revision"]) if there == namespace else f"{there}/{told['revision']}"


def _head(told: Mapping[str, Any]) -> str:
    at = f"{told['at_s']:.2f} s" if "at_s" in told else told.get("timestamp", "")
    parts = []
    if told.get("quota_percent") is not None:
        parts.append(f"quota {told['quota_percent']} %")
    before, after = told.get("pods_from"), told.get("pods_to")
    if after is not None:
        parts.append(f"pods {after}" if before in (None, after, -1) else f"pods {before} -> {after}")
    return "  ".join([str(at), str(told["revision"]), ", ".join(parts)]).rstrip()


def _reason(told: Mapping[str, Any]) -> str:
    values = " ".join(f"{name}={_shown(value)}" for name, value in told.items() if name != "fact")
    return f"{told.get('fact', '')}: {values}" if values else str(told.get("fact", ""))


def _shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _simulated(folder: Path) -> list[str]:
    from .command import Trouble

    result = folder / "result.json"
    try:
        name = str(json.loads(result.read_text(encoding="utf-8"))["decisions_file"])
        return (folder / name).read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Trouble(f"{folder} is not the output of a simulation: {error}") from error
