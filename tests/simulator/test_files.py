"""The files of a simulation: what they may say, and that an error names file and line."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from hasgpu.cli.__main__ import cli
from hasgpu.fitter.errors import InputError
from hasgpu.fitter.reference_file import packaged_reference
from hasgpu.simulator.believed import surface_of
from hasgpu.simulator.functions_file import products, read_functions
from hasgpu.simulator.policies.registry import POLICIES
from hasgpu.simulator.workload import read_workload

PROFILE = """\
apiVersion: hasgpu.dev/v1alpha1
kind: LatencyProfile
metadata: {name: m}
spec:
  model: m
  memory: 1Gi
  measurements:
  - gpuProduct: V100
    gate: launch
    cells:
    - {batch: 1, sm: 10, quota: 100, latencyMs: 20}
    - {batch: 1, sm: 100, quota: 100, latencyMs: 10}
    - {batch: 1, sm: 100, quota: 50, latencyMs: 20}
"""
FUNCTION = "functions:\n- name: f\n  profile: m.yaml\n  slo-latency: 100ms\n"


def files(folder: Path, functions: str = FUNCTION, workload: str = "function,arrival_s\nf,0.5\nf,1.5\n") -> Path:
    (folder / "m.yaml").write_text(PROFILE)
    (folder / "t.csv").write_text("batch,sm,quota,latency_ms\n1,10,100,21\n1,100,100,11\n1,100,50,22\n")
    (folder / "F.yaml").write_text(functions)
    (folder / "W.csv").write_text(workload)
    return folder


def test_a_function_has_its_defaults(tmp_path: Path) -> None:
    (read,) = read_functions(files(tmp_path) / "F.yaml")
    assert (read.name, read.startup_s, read.overhead_s, read.min_scale, read.max_scale) == ("f", 8.0, 0.0, 0, 0)
    assert read.slo_base_s == read.truth.work_s(1, 100) == pytest.approx(0.010, rel=0.1)
    assert read.memory_bytes == 1 << 30


def test_without_a_truth_the_simulated_gpu_is_what_the_policies_believe(tmp_path: Path) -> None:
    files(tmp_path)
    (tmp_path / "m.yaml").write_text(PROFILE.split("    - {batch: 1, sm: 100, quota: 100")[0])
    (read,) = read_functions(tmp_path / "F.yaml")
    believed = surface_of(read, "V100")
    for batch, sm in ((1, 5), (1, 100), (8, 50)):
        assert read.truth.work_s(batch, sm) == pytest.approx(believed.work_s(batch, sm))


def test_operator_counts_are_believed_and_stand_in_for_cells(tmp_path: Path) -> None:
    annotations = ", annotations: {hasgpu.dev/static-features: '%s'}}"
    counts = dict.fromkeys(packaged_reference().statics.names, 10.0)
    told = PROFILE.replace("name: m}", "name: m" + annotations % json.dumps(counts))
    files(tmp_path)
    (tmp_path / "m.yaml").write_text(told)
    (counted,) = read_functions(tmp_path / "F.yaml")
    assert dict(counted.statics) == counts
    (tmp_path / "m.yaml").write_text(told.split("  measurements:")[0])
    (bare,) = read_functions(tmp_path / "F.yaml")
    assert bare.truth.work_s(1, 100) > 0.0
    assert products({"f": bare}) == "simulated"


def test_a_profile_with_neither_cells_nor_counts_is_refused(tmp_path: Path) -> None:
    files(tmp_path)
    (tmp_path / "m.yaml").write_text(PROFILE.split("  measurements:")[0])
    with pytest.raises(InputError, match="neither a cell nor operator counts"):
        read_functions(tmp_path / "F.yaml")


@pytest.mark.parametrize(
    ("right", "wrong", "line", "says"),
    [
        pytest.param("measurements", "measurments", 7, "unknown key 'measurments'", id="a typo in the spec"),
        pytest.param("gate: launch", "gatte: launch", 9, "unknown key 'gatte'", id="a typo in a measurement"),
        pytest.param(
            "{batch: 1, sm: 10,", "{sms: 9, batch: 1, sm: 10,", 11, "unknown key 'sms'", id="a typo in a cell"
        ),
        pytest.param("name: m}", "name: m, anotations: {}}", 3, "unknown key 'anotations'", id="a typo in metadata"),
        pytest.param("{name: m}", "7", 3, "must be a mapping", id="metadata that is none"),
        pytest.param("LatencyProfile", "GPU", 2, "kind must be LatencyProfile", id="another kind"),
        pytest.param("sm: 10,", "sm: 0,", 11, "cells[0].sm must be 1..100, was: 0", id="no SM"),
        pytest.param("latencyMs: 10}", "latencyMs: soon}", 12, "got `str`", id="a latency that is no number"),
        pytest.param(", latencyMs: 10}", "}", 12, "missing required field `latencyMs`", id="no latency"),
        pytest.param("sm: 10,", "sm: 10, sm: 11,", 11, "key 'sm' stands twice", id="a key twice"),
        pytest.param("memory: 1Gi", "memory: 0", 6, "spec.memory must be above 0", id="no memory"),
        pytest.param("gate: launch", "gate: closed", 9, "gate must be gpu-time or launch", id="an unknown gate"),
        pytest.param(
            "name: m}",
            "name: m, annotations: {hasgpu.dev/static-features: x}}",
            3,
            "hasgpu.dev/static-features",
            id="operator counts that are none",
        ),
        pytest.param(
            "name: m}",
            'name: m, annotations: {hasgpu.dev/static-features: \'{"gmac": "few"}\'}}',
            3,
            "hasgpu.dev/static-features: Expected `float`",
            id="operator counts that are no numbers",
        ),
        pytest.param(
            "{name: m}", "{name: m, annotations: {a: 7}}", 3, "Expected `str`", id="an annotation of a number"
        ),
    ],
)
def test_a_bad_profile_is_refused_with_its_line(tmp_path: Path, right: str, wrong: str, line: int, says: str) -> None:
    (files(tmp_path) / "m.yaml").write_text(PROFILE.replace(right, wrong, 1))
    with pytest.raises(InputError) as caught:
        read_functions(tmp_path / "F.yaml")
    assert str(caught.value).startswith(f"{tmp_path / 'm.yaml'}:{line}: ")
    assert says in str(caught.value)


def test_a_profile_may_be_what_the_api_server_shows(tmp_path: Path) -> None:
    """As `kubectl get -o yaml` writes it, with more in its status than we know."""
    files(tmp_path)
    shown = "metadata: {name: m, uid: u, creationTimestamp: '2026-01-01T00:00:00Z', managedFields: [{manager: x}]}"
    told = PROFILE.replace("metadata: {name: m}", shown) + "status: {observedGeneration: 1, newer: 3}\n"
    (tmp_path / "m.yaml").write_text(told)
    assert read_functions(tmp_path / "F.yaml")[0].profile.measurements[0].cells[0].sm_percent == 10


def test_the_truth_is_another_file_than_what_is_believed(tmp_path: Path) -> None:
    (read,) = read_functions(files(tmp_path, FUNCTION + "  truth: t.csv\n  overhead: 70ms\n") / "F.yaml")
    assert read.truth.work_s(1, 100) == pytest.approx(0.011)
    assert read.truth.launch_s(1, 100, 50) == pytest.approx(0.022)
    assert read.slo_base_s == pytest.approx(0.081)


@pytest.mark.parametrize(
    ("functions", "line", "says"),
    [
        pytest.param(FUNCTION + "  colour: red\n", 5, "unknown key 'colour'", id="an unknown key"),
        pytest.param(FUNCTION + "other: 1\n", 5, "unknown key 'other'", id="an unknown key at the top"),
        pytest.param("functions: []\n", 1, "at least one", id="no function"),
        pytest.param(FUNCTION.replace("100ms", "fast"), 4, "slo-latency='fast'", id="a bad annotation value"),
        pytest.param(FUNCTION.replace("m.yaml", "x.yaml"), 3, "can't be read", id="a missing profile"),
        pytest.param(FUNCTION + "  truth: x.csv\n", 5, "can't be read", id="a missing truth"),
        pytest.param(FUNCTION + "  startup: soon\n", 5, "startup='soon'", id="a bad duration"),
        pytest.param(FUNCTION + "  min-scale: -1\n", 5, "min-scale='-1'", id="a negative scale"),
        pytest.param(
            FUNCTION + "  max-scale: 1\n  min-scale: 3\n", 6, "min-scale=3 must not be above max-scale=1", id="no scale"
        ),
        pytest.param(FUNCTION + "- name: f\n  profile: m.yaml\n  slo-latency: 1s\n", 5, "twice", id="a name twice"),
        pytest.param("functions:\n- name: f\n  profile: m.yaml\n", 2, "slo-latency is required", id="no SLO"),
        pytest.param("functions: [\n", 2, "not YAML", id="no YAML"),
    ],
)
def test_a_bad_functions_file_is_refused_with_its_line(tmp_path: Path, functions: str, line: int, says: str) -> None:
    with pytest.raises(InputError) as caught:
        read_functions(files(tmp_path, functions) / "F.yaml")
    assert str(caught.value).startswith(f"{tmp_path / 'F.yaml'}:{line}: ")
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("workload", "place", "says"),
    [
        pytest.param("function,when\n", "1", "columns must be", id="other columns"),
        pytest.param("", "1", "columns must be", id="nothing"),
        pytest.param("function,arrival_s,requests\n", "1", "columns must be", id="columns of both forms"),
        pytest.param(
            "function,arrival_s\nf,0.5\ng,1\n", "3:1", "function is 'g', must be in", id="an unknown function"
        ),
        pytest.param("function,arrival_s\nf,soon\n", "2:2", "arrival_s is 'soon', must be", id="no number"),
        pytest.param("function,arrival_s\nf,-1\n", "2:2", "must be a number of seconds", id="before the start"),
        pytest.param("arrival_s,function\n\n-1,f\n", "3:1", "arrival_s is '-1'", id="a place after blank lines"),
        pytest.param("function,arrival_s\nf,1,7\n", "2", "has 3 columns, must have 2", id="a decimal comma"),
        pytest.param("function,second,requests\nf,0,1.5\n", "2:3", "must be a whole number", id="half a request"),
        pytest.param("function,second,requests\nf,0,-1\n", "2:3", "requests is '-1', must be", id="less than none"),
        pytest.param("function,second,requests\nf,0\n", "2", "has 2 columns, must have 3", id="a column missing"),
    ],
)
def test_a_bad_workload_is_refused_with_its_place(tmp_path: Path, workload: str, place: str, says: str) -> None:
    with pytest.raises(InputError) as caught:
        read_workload(files(tmp_path, workload=workload) / "W.csv", ["f"], 0)
    assert str(caught.value).startswith(f"{tmp_path / 'W.csv'}:{place}: ")
    assert says in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("function,arrival_s\nf,0.5\n\nf,1.5\n\n,\n", id="blank lines"),
        pytest.param(
            "\ufefffunction,arrival_s\r\nf,0.5\r\nf,1.5\r\n", id="a byte order mark and CRLF, as Excel writes"
        ),
        pytest.param("arrival_s, function\n0.5, f\n1.5, f\n", id="columns swapped, and blanks"),
        pytest.param("zone,function,arrival_s,\na,f,0.5,\n,f,1.5,\n", id="columns that nobody asked for"),
    ],
)
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzipped"])
def test_a_workload_may_look_as_people_have_it(tmp_path: Path, text: str, packed: bool) -> None:
    path = tmp_path / ("W.csv.gz" if packed else "W.csv")
    path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    assert read_workload(path, ["f"], 0).arrivals["f"].tolist() == [0.5, 1.5]


def test_a_truth_may_look_as_people_have_it(tmp_path: Path) -> None:
    files(tmp_path, FUNCTION + "  truth: t.csv.gz\n")
    rows = ["model,sm,batch,quota,latency_ms", "", "m,10,1,100,21", "m,100,1,100,11", "other,100,1,100,99"]
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(("\ufeff" + "\r\n".join(rows)).encode()))
    (read,) = read_functions(tmp_path / "F.yaml")
    assert read.truth.work_s(1, 100) == pytest.approx(0.011)


@pytest.mark.parametrize(
    ("truth", "place", "says"),
    [
        pytest.param(b"batch,sm,quota\n", "1", "lacks the column 'latency_ms'", id="a missing column"),
        pytest.param(b"batch,sm,quota,latency_ms\n", "1", "has no cell", id="no cell"),
        pytest.param(b"batch,sm,quota,latency_ms\n1,0,100,2\n", "2:2", "sm is '0', must be a whole", id="no SM"),
        pytest.param(b"batch,sm,quota,latency_ms\n\n1,5,9,nan\n", "3:4", "latency_ms is 'nan'", id="no number"),
        pytest.param(
            b"model,batch,sm,quota,latency_ms\na,1,5,9,2\nb,1,5,9,2\n", "1", "no cell of model 'm'", id="others"
        ),
        pytest.param(b"batch,sm,quota,latency_ms\n1,5,9,\xe9\n", "2", "no text in UTF-8: byte 0xe9", id="Latin 1"),
    ],
)
def test_a_bad_truth_is_refused_with_its_place(tmp_path: Path, truth: bytes, place: str, says: str) -> None:
    files(tmp_path, FUNCTION + "  truth: t.csv\n")
    (tmp_path / "t.csv").write_bytes(truth)
    with pytest.raises(InputError) as caught:
        read_functions(tmp_path / "F.yaml")
    assert str(caught.value).startswith(f"{tmp_path / 't.csv'}:{place}: ")
    assert says in str(caught.value)


def test_counts_become_arrivals_within_their_seconds(tmp_path: Path) -> None:
    read = read_workload(files(tmp_path, workload="function,second,requests\nf,3,100\nf,7,2\n") / "W.csv", ["f"], 0)
    arrivals = read.arrivals["f"]
    assert ((arrivals >= 3.0) & (arrivals < 4.0)).sum() == 100
    assert ((arrivals >= 7.0) & (arrivals < 8.0)).sum() == 2
    assert read.horizon_s == 8.0


def simulated(folder: Path, *more: str) -> tuple[int, str]:
    order = ["simulate", "--workload", f"{folder}/W.csv", "--functions", f"{folder}/F.yaml", "--gpus", "2"]
    done = CliRunner().invoke(cli, [*order, "--output", f"{folder}/out", *more])
    return done.exit_code, done.output


def test_the_verb_writes_what_the_contract_says_and_the_same_bytes_again(tmp_path: Path) -> None:
    files(tmp_path, workload="function,second,requests\n" + "".join(f"f,{n},20\n" for n in range(10)))
    written = []
    for _ in range(2):
        code, said = simulated(tmp_path, "--seed", "3")
        assert code == 0, said
        written.append({file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()})
    assert written[0] == written[1]
    result = json.loads((tmp_path / "out/result.json").read_text())
    for figures in (result, result["functions"]["f"]):
        assert figures["requests"] == 200
        assert figures["failed"] == 0
        assert set(figures["latency_ms"]) == {"p50", "p95", "p99", "max"}
        assert set(figures["violations"]) == {"1.5", "2", "3", "5", "slo"}
        assert set(figures["gpu_seconds"]) == {"allocated", "busy", "least"}
        assert 0.0 < figures["gpu_seconds"]["least"] < figures["gpu_seconds"]["allocated"]
        assert set(figures["changes"]) == {"vertical", "out", "in"}
        assert {"mean_gpus", "whole_gpus", "cold_starts"} <= set(figures)
        assert (tmp_path / "out" / figures["decisions_file"]).exists()
    assert (tmp_path / "out/run.png").stat().st_size > 1000


def test_a_bad_file_is_one_line_for_the_person(tmp_path: Path) -> None:
    code, said = simulated(files(tmp_path, FUNCTION + "  colour: red\n"))
    assert code == 1
    assert f"{tmp_path}/F.yaml:5: unknown key 'colour'" in said


def test_the_help_offers_every_policy_and_documents_the_files() -> None:
    said = CliRunner().invoke(cli, ["simulate", "--help"]).output
    for word in (*POLICIES, "arrival_s", "second,requests", "slo-base", "truth", "result.json"):
        assert word in said
