"""The profile verbs as other programs call them: CSV in, YAML and CSV out, errors that name file, line and column."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result
from hasgpu.cli.__main__ import cli

from tests.prediction.shapes import PLAN, measured


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, ["profile", *(str(argument) for argument in arguments)])


@pytest.fixture
def cells(tmp_path: Path) -> Path:
    rows = [f"{c.batch},{c.sm_percent},{c.quota_percent},{c.latency_ms}" for c in measured(*PLAN).cells]
    path = tmp_path / "cells.csv"
    path.write_text("batch,sm,quota,latency_ms\n" + "\n".join(rows) + "\n")
    return path


def test_fit_writes_a_latency_profile_and_predict_reads_it(cells: Path, tmp_path: Path) -> None:
    output, grid = tmp_path / "profile.yaml", tmp_path / "grid.csv"
    fitted = run("fit", "--cells", cells, "--output", output, "--memory", "2Gi", "--model", "My_Net")
    assert fitted.exit_code == 0, fitted.output
    profile = yaml.safe_load(output.read_text())
    assert (profile["kind"], profile["metadata"]["name"], profile["spec"]["memory"]) == (
        "LatencyProfile",
        "my-net",
        "2Gi",
    )
    measurement = profile["spec"]["measurements"][0]
    assert (measurement["gate"], measurement["window"], len(measurement["cells"])) == ("launch", "40ms", 25)
    grid.write_text("note,batch,sm,quota\nhere,2,35,25\nthere,1,100,100\n")
    predicted = run("predict", "--profile", output, "--cells", grid)
    assert predicted.exit_code == 0, predicted.output
    rows = list(csv.DictReader(io.StringIO(predicted.stdout)))
    assert list(rows[0]) == ["note", "batch", "sm", "quota", "latency_ms", "low_ms", "high_ms"]
    assert float(rows[0]["low_ms"]) < float(rows[0]["latency_ms"]) < float(rows[0]["high_ms"])
    assert float(rows[1]["latency_ms"]) == pytest.approx(16.0, rel=0.05)


def test_a_profile_of_no_cells_still_predicts(tmp_path: Path) -> None:
    empty, grid, output = tmp_path / "none.csv", tmp_path / "grid.csv", tmp_path / "p.yaml"
    empty.write_text("model,batch,sm,quota,latency_ms\n")
    grid.write_text("batch,sm,quota\n1,50,50\n")
    static = tmp_path / "static.csv"
    static.write_text(
        "model,family,gmac,n_conv2d,n_dense,n_relu,n_nodes,conv_weights_m,dense_weights_m,n_grouped_conv\n"
        "net,net,4.1,53,1,49,108,23.4,2.0,0\n"
    )
    fitted = run("fit", "--cells", empty, "--output", output, "--model", "net", "--static", static)
    assert fitted.exit_code == 0, fitted.output
    predicted = run("predict", "--profile", output, "--cells", grid)
    assert predicted.exit_code == 0, predicted.output
    assert float(predicted.stdout.splitlines()[1].split(",")[3]) > 0.0


def test_no_cell_to_predict_is_answered_with_the_header_alone(cells: Path, tmp_path: Path) -> None:
    profile, grid = tmp_path / "profile.yaml", tmp_path / "grid.csv"
    run("fit", "--cells", cells, "--output", profile)
    grid.write_text("batch,sm,quota\n")
    predicted = run("predict", "--profile", profile, "--cells", grid)
    assert (predicted.exit_code, predicted.stdout) == (0, "batch,sm,quota,latency_ms,low_ms,high_ms\n")


@pytest.mark.parametrize("memory", ["0", "-1Gi", "0Gi"])
def test_a_pod_without_memory_is_fitted_for_nobody(cells: Path, tmp_path: Path, memory: str) -> None:
    fitted = run("fit", "--cells", cells, "--output", tmp_path / "p.yaml", f"--memory={memory}")
    assert (fitted.exit_code, (tmp_path / "p.yaml").exists()) == (1, False)
    assert "--memory" in fitted.output


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("batch,sm,latency_ms\n1,5,2\n", "cells.csv:1: lacks the column 'quota'", id="a missing column"),
        pytest.param(
            "batch,sm,quota,latency_ms\n1,5,10,2\n1,5,20,fast\n",
            "cells.csv:3:4: latency_ms is 'fast'",
            id="a latency that is no number",
        ),
        pytest.param("batch,sm,quota,latency_ms\n1,120,10,2\n", "cells.csv:2:2: sm is '120'", id="more SMs than all"),
        pytest.param("batch,sm,quota,latency_ms\n1,5,10,-2\n", "cells.csv:2:4: latency_ms is '-2'", id="below zero"),
        pytest.param(
            "model,batch,sm,quota,latency_ms\na,1,5,10,2\nb,1,5,10,2\n",
            "choose one with --model: a, b",
            id="several models and none chosen",
        ),
    ],
)
def test_a_bad_csv_is_refused_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "cells.csv"
    path.write_text(text)
    result = run("fit", "--cells", path, "--output", tmp_path / "p.yaml")
    assert result.exit_code == 1
    assert message in result.output


def test_a_bad_profile_is_refused_with_its_place(tmp_path: Path) -> None:
    path, grid = tmp_path / "p.yaml", tmp_path / "g.csv"
    grid.write_text("batch,sm,quota\n1,5,10\n")
    path.write_text("kind: LatencyProfile\nspec: [\n")
    result = run("predict", "--profile", path, "--cells", grid)
    assert result.exit_code == 1
    assert "p.yaml:3: not YAML" in result.output


def test_a_typo_in_a_profile_is_refused_rather_than_answered_from_nothing(cells: Path, tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    run("fit", "--cells", cells, "--output", path)
    path.write_text(path.read_text().replace("measurements", "measurments"))
    result = run("predict", "--profile", path, "--cells", cells)
    assert result.exit_code == 1
    assert "p.yaml:7: unknown key 'measurments'" in result.output


def test_a_plan_is_a_csv_of_at_most_twenty_five_cells_with_prices() -> None:
    result = run("plan")
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert len(rows) == 25
    assert set(rows[0]) == {"batch", "sm", "quota", "price_s"}


def test_show_draws_each_measured_batch_and_marks_its_cells(cells: Path, tmp_path: Path) -> None:
    output = tmp_path / "profile.yaml"
    run("fit", "--cells", cells, "--output", output)
    shown = run("show", "--profile", output)
    assert shown.exit_code == 0, shown.output
    assert "batch 8" in shown.output
    assert "●" in shown.output
