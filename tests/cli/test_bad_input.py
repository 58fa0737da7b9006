"""What people type wrong is told in a line, before anything is spent on it: no traceback, no hang, no guess."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from hasgpu.cli.__main__ import cli

from tests.simulator.test_files import files

BINARY = b"\x93\x00\xff\xfe" * 20
CONFIG_MAP = "apiVersion: v1\nkind: ConfigMap\n"


def refused(says: str, *arguments: str | Path) -> None:
    """Exit code 1 or 2, one line that begins with Error, and no exception but that."""
    done = CliRunner().invoke(cli, [str(argument) for argument in arguments])
    assert isinstance(done.exception, SystemExit), repr(done.exception)
    assert done.exit_code in (1, 2)
    (told,) = (line for line in done.output.splitlines() if line.startswith("Error: "))
    assert done.output.endswith(f"{told}\n")
    assert says in told


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        pytest.param("--noise", "nan", "'nan' is not a number", id="noise that is no number"),
        pytest.param("--noise", "inf", "not in the range", id="endless noise"),
        pytest.param("--noise", "-1", "not in the range", id="noise below zero"),
        pytest.param("--interference", "-3", "not in the range", id="interference below zero"),
        pytest.param("--interference", "nan", "'nan' is not a number", id="interference that is no number"),
        pytest.param("--output", "{folder}/W.csv/out", "W.csv/out: Not a directory", id="an output beneath a file"),
        pytest.param("--workload", "{folder}/binary", "binary:1: is no text", id="a workload that is no text"),
        pytest.param("--functions", "{folder}/binary", "binary can't be read", id="functions that are no text"),
        pytest.param("--functions", "{folder}/nul", "nul:1: not YAML", id="functions with a character of no text"),
    ],
)
def test_simulate_refuses(tmp_path: Path, option: str, value: str, says: str) -> None:
    (files(tmp_path) / "binary").write_bytes(BINARY)
    (tmp_path / "nul").write_bytes(b"functions: \x00")
    told = {"--workload": "{folder}/W.csv", "--functions": "{folder}/F.yaml", "--output": "{folder}/out", "--gpus": "1"}
    order = [word.format(folder=tmp_path) for pair in (told | {option: value}).items() for word in pair]
    refused(says, "simulate", *order)


@pytest.mark.parametrize(
    ("order", "says"),
    [
        pytest.param("show --profile {folder}/m.yaml --batch 0", "0 is not in the range", id="a batch of none"),
        pytest.param("show --profile {folder}/m.yaml --batch -3", "-3 is not in the range", id="fewer than none"),
        pytest.param(
            "show --profile {folder}/binary", "binary:1: not YAML: unacceptable", id="a profile that is no text"
        ),
        pytest.param("fit --cells {folder}/t.csv --output {folder}/no/p", "no' is not there", id="fit into no folder"),
        pytest.param("fit --cells {folder}/binary --output {folder}/p", "is no text", id="cells that are no text"),
        pytest.param("fit --cells {folder}/cut.gz --output {folder}/p", "is no gzip", id="cells that are cut off"),
        pytest.param(
            "fit --cells {folder}/t.csv --output {folder}/p --static {folder}/binary",
            "binary:1: is no text",
            id="operator counts that are no text",
        ),
        pytest.param("plan --output {folder}/no/p.csv", "no' is not there", id="a plan into no folder"),
        pytest.param("plan --adaptive --until nan", "'nan' is not a number", id="a half-width that is no number"),
        pytest.param("run f --output {folder}/no/p.yaml", "no' is not there", id="a measurement into no folder"),
        pytest.param("run f --output {folder}/p --timeout nan", "'nan' is not a number", id="waiting for ever"),
    ],
)
def test_profile_refuses(tmp_path: Path, order: str, says: str) -> None:
    (files(tmp_path) / "binary").write_bytes(b"\x93" + BINARY if "fit" in order else b"kind: \x00")
    (tmp_path / "cut.gz").write_bytes(bytes.fromhex("1f8b0800000000000003"))
    refused(says, "profile", *order.format(folder=tmp_path).split())


@pytest.mark.parametrize(
    ("texts", "says"),
    [
        pytest.param({}, "kustomization.yaml: No such file", id="an empty folder"),
        pytest.param({"kustomization.yaml": "foo: 1"}, "missing required field `resources`", id="no list of files"),
        pytest.param({"kustomization.yaml": "resources: x"}, "Expected `array`", id="a list that is none"),
        pytest.param({"kustomization.yaml": ""}, "Expected `object`", id="an empty list of files"),
        pytest.param({"kustomization.yaml": "resources: [no.yaml]"}, "no.yaml: No such file", id="a file that is not"),
        pytest.param({"x.yaml": "{{{"}, "x.yaml: is no YAML", id="a file that is no YAML"),
        pytest.param({"x.yaml": "- a"}, "Expected `object`, got `array`", id="a list for a document"),
        pytest.param({"x.yaml": CONFIG_MAP}, "missing required field `metadata`", id="an object without metadata"),
        pytest.param({"x.yaml": f"{CONFIG_MAP}metadata: {{}}"}, "missing required field `name`", id="one without name"),
        pytest.param({"x.yaml": f"{CONFIG_MAP}metadata: {{name: a}}"}, "lacks a namespace", id="one of no namespace"),
        pytest.param({"x.yaml": "kind: Pod\napiVersion: v1\nmetadata: {name: a}"}, "a Pod can't", id="a foreign kind"),
        pytest.param({"x.yaml": ""}, "must hold one Deployment autoscaler", id="a release of nothing"),
    ],
)
def test_manifest_refuses_a_folder_that_is_no_release(tmp_path: Path, texts: dict[str, str], says: str) -> None:
    if "x.yaml" in texts:
        (tmp_path / "kustomization.yaml").write_text("resources: [x.yaml]")
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    refused(says, "manifest", "--manifests", tmp_path)


@pytest.mark.parametrize("registry", ["", "a b", "[::1]", "/a", "a//b", "a/b:1", "a\nb"])
def test_a_registry_must_be_one(registry: str) -> None:
    refused("--registry must be HOST[:PORT][/PATH]", "manifest", "--registry", registry)


@pytest.mark.parametrize("registry", ["localhost", "r.example.com:5000/team/2/", "gcr.io/a_b-c"])
def test_a_registry_may_be(registry: str) -> None:
    assert CliRunner().invoke(cli, ["manifest", "--registry", registry]).exit_code == 0


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(b"junk: [", id="no YAML"),
        pytest.param(b"- a", id="a list"),
        pytest.param(b"a", id="a word"),
        pytest.param(BINARY, id="no text"),
        pytest.param(b"kind: Config\ncurrent-context: x\ncontexts: [1]", id="contexts that are none"),
    ],
)
def test_a_kubeconfig_that_is_none_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: bytes) -> None:
    (tmp_path / "config").write_bytes(text)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
    refused(f"no cluster to talk to by KUBECONFIG={tmp_path}/config", "uninstall")


def test_install_refuses_what_manifest_does_and_waits_for_ever_for_nothing(tmp_path: Path) -> None:
    refused("kustomization.yaml: No such file", "install", "--yes", "--manifests", tmp_path)
    refused("'nan' is not a number", "install", "--yes", "--timeout", "nan")


def test_the_result_of_no_simulation_is_none_to_explain(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text("[]")
    refused("is not the output of a simulation", "explain", "f", "--from", tmp_path)
