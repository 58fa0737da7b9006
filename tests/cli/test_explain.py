"""Decisions as people read them, from a simulation's file and from log lines."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hasgpu.cli.__main__ import cli
from hasgpu.cli.explain import decisions, tree

from tests.cluster.fake_api import FakeApi

LIVE = {
    "timestamp": "2026-01-02T03:04:05.678Z",
    "logger": "hasgpu.decisions",
    "message": "decided",
    "namespace": "default",
    "revision": "classify-00001",
    "demand_requests_per_s": 13.7,
    "capacity_requests_per_s": 8.6,
    "quota_percent": 100,
    "pods_from": 1,
    "pods_to": 2,
    "quota_changes": {"classify-00001-a": "64 -> 100"},
    "reasons": [{"fact": "forecast", "now_per_s": 13.7}, {"fact": "scale-out", "deficit_per_s": 5.1, "pods": 1}],
}


def test_a_decision_is_a_short_tree() -> None:
    assert tree(LIVE).splitlines() == [
        "2026-01-02T03:04:05.678Z  classify-00001  quota 100 %, pods 1 -> 2",
        "├─ demand 13.7/s, capacity 8.6/s",
        "├─ forecast: now_per_s=13.7",
        "├─ scale-out: deficit_per_s=5.1 pods=1",
        "└─ classify-00001-a: 64 -> 100",
    ]


def test_other_lines_are_passed_over() -> None:
    lines = ["not JSON", '{"message": "hello"}', json.dumps(LIVE), "[]"]
    assert [each["revision"] for each in decisions(lines)] == ["classify-00001"]


def test_a_simulations_decisions_are_explained(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text(json.dumps({"decisions_file": "decisions.jsonl"}))
    lines = [{**LIVE, "at_s": float(n), "revision": name} for n in range(4) for name in ("a", "b")]
    (tmp_path / "decisions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    said = CliRunner().invoke(cli, ["explain", "a", "--from", str(tmp_path), "--last", "2"])
    assert said.exit_code == 0, said.output
    assert [line for line in said.output.splitlines() if " s  " in line] == [
        "2.00 s  a  quota 100 %, pods 1 -> 2",
        "3.00 s  a  quota 100 %, pods 1 -> 2",
    ]


def test_a_function_that_the_simulation_does_not_know_is_an_error_that_names_those_it_does(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text(json.dumps({"decisions_file": "decisions.jsonl"}))
    lines = [{**LIVE, "at_s": 1.0, "revision": name} for name in ("b", "a", "b")]
    (tmp_path / "decisions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    said = CliRunner().invoke(cli, ["explain", "c", "--from", str(tmp_path)])
    assert said.exit_code == 1
    assert "no decision about c was found, only about: a, b" in said.output


def test_a_folder_that_is_no_simulation_is_told(tmp_path: Path) -> None:
    said = CliRunner().invoke(cli, ["explain", "a", "--from", str(tmp_path)])
    assert said.exit_code == 1
    assert "not the output of a simulation" in said.output


def kubeconfig(folder: Path, server: str) -> Path:
    """A file that leads to a server without any credentials."""
    path = folder / "kubeconfig"
    config = {
        "current-context": "fake",
        "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "nobody"}}],
        "clusters": [{"name": "fake", "cluster": {"server": server}}],
        "users": [{"name": "nobody", "user": {}}],
    }
    path.write_text(json.dumps(config))
    return path


def explained(monkeypatch: pytest.MonkeyPatch, folder: Path, *words: str) -> Result:
    """The verb against a cluster whose leader has decided once, about default/classify-00001."""
    with FakeApi() as api:
        for name, labels in (("leader", {"app": "autoscaler"}), ("other", {"app": "activator"})):
            pod = {"metadata": {"name": name, "labels": labels}, "log": LIVE}
            api.create("/api/v1/namespaces/knative-serving/pods", pod)
        monkeypatch.setenv("KUBECONFIG", str(kubeconfig(folder, api.url)))
        return CliRunner().invoke(cli, ["explain", *words])


def test_the_live_autoscalers_decisions_are_explained(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    said = explained(monkeypatch, tmp_path, "classify-00001")
    assert said.exit_code == 0, said.output
    assert said.output.count("quota 100 %, pods 1 -> 2") == 1


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        pytest.param(["classify"], "only about: classify-00001", id="a service's name instead of a revision's"),
        pytest.param(["classify-00001", "-n", "other"], "only about: default/classify-00001", id="another namespace"),
    ],
)
def test_an_unknown_name_is_an_error_that_says_which_are_known(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, words: list[str], answer: str
) -> None:
    said = explained(monkeypatch, tmp_path, *words)
    assert said.exit_code == 1
    assert answer in said.output
