"""Process cli: makes a LatencyProfile of measured cells, and says how well they agree with each other."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import yaml

from hasgpu.fitter.measured import read_statics
from hasgpu.fitter.reference_file import packaged_reference
from hasgpu.model.profile import Cell, Gate, Measurement
from hasgpu.model.quantity import parse_bytes, parse_duration_ns
from hasgpu.prediction.rapp import left_one_out

from .command import Trouble
from .profile_csv import read_cells
from .profile_file import profile_object


@dataclass(frozen=True, slots=True, kw_only=True)
class FitRequest:
    """What `profile fit` was asked."""

    cells: Path
    gate: Gate
    window: str
    gpu_product: str
    memory: str | None
    model: str | None
    static: Path | None
    onnx: Path | None


def write_profile(request: FitRequest, output: Path) -> None:
    """Writes the object and tells the leave-one-out error of its cells."""
    window_ms = _window_ms(request.window)
    if request.memory is not None:
        _check_memory(request.memory)
    model, cells = read_cells(request.cells, request.model)
    statics = _statics(request, model)
    name = model or request.cells.name.split(".")[0]
    measurement = Measurement(gpu_product=request.gpu_product, gate=request.gate, window_ms=window_ms, cells=cells)
    write_measurement(name, request.memory, measurement, output, statics)
    tell_agreement(measurement, statics)


def write_measurement(
    name: str,
    memory: str | None,
    measurement: Measurement,
    output: Path,
    statics: Mapping[str, float] | None = None,
) -> None:
    """Writes the object of a model."""
    plain = {
        "gpuProduct": measurement.gpu_product,
        "gate": measurement.gate,
        "window": f"{measurement.window_ms:g}ms",
        "cells": [_plain(cell) for cell in measurement.cells],
    }
    body = profile_object(_object_name(name), name, memory, plain if measurement.cells else None, statics)
    text = yaml.dump(body, Dumper=_Flow, sort_keys=False, width=120)
    if str(output) == "-":
        click.echo(text, nl=False)
    else:
        output.write_text(text)


def tell_agreement(measurement: Measurement, statics: Mapping[str, float] | None = None) -> None:
    """Tells how well the cells agree."""
    cells = len(measurement.cells)
    if cells < 2:
        what = "its operator counts" if statics else "the typical model, with a very wide interval"
        click.echo(f"{cells} cells: predictions rest on {what if not cells else 'one cell'}", err=True)
        return
    errors = np.abs(np.expm1(left_one_out(packaged_reference(), measurement, statics=statics)))
    median, p90 = (100.0 * float(np.quantile(errors, part)) for part in (0.5, 0.9))
    click.echo(f"{cells} cells; each predicted from the others: median error {median:.1f} %, P90 {p90:.1f} %", err=True)


def _statics(request: FitRequest, model: str | None) -> Mapping[str, float] | None:
    if request.onnx is not None:
        from hasgpu.fitter.onnx_file import count_operators

        return count_operators(request.onnx)
    if request.static is None:
        return None
    known = read_statics(request.static)
    if model is None:
        raise Trouble("--static needs the model's name: a column `model` in the CSV, or --model")
    if model not in known:
        raise Trouble(f"{request.static}: has no row of model {model!r}")
    return known[model][1]


def _window_ms(window: str) -> float:
    try:
        window_ms = parse_duration_ns(window) / 1e6
    except ValueError as error:
        raise Trouble(f"--window: {error}") from error
    if window_ms <= 0.0 or not re.fullmatch(r"\d+(\.\d+)?(ms|s)", window):
        raise Trouble(f"--window must be milliseconds or seconds above 0, e.g. 40ms, was: {window!r}")
    return window_ms


def _check_memory(memory: str) -> None:
    try:
        enough = parse_bytes(memory) > 0
    except ValueError as error:
        raise Trouble(f"--memory: {error}") from error
    if not enough:
        raise Trouble(f"--memory must be above 0, was: {memory!r}")


def _object_name(model: str) -> str:
    """A Kubernetes name: resnet_50 becomes resnet-50."""
    name = re.sub(r"[^a-z0-9.-]+", "-", model.lower()).strip("-.")
    return name[:253] or "profile"


class _Flow(yaml.SafeDumper):
    """Block style, but one line for each cell."""


class _Line(dict[str, Any]):
    """A mapping that is written on one line."""


_Flow.add_representer(
    _Line, lambda dumper, line: dumper.represent_mapping("tag:yaml.org,2002:map", line.items(), flow_style=True)
)


def _plain(cell: Cell) -> _Line:
    return _Line(
        batch=cell.batch, sm=cell.sm_percent, quota=cell.quota_percent, latencyMs=float(f"{cell.latency_ms:.10g}")
    )
