"""Process fitter: the packaged reference: one JSON file, the same bytes for the same training."""

from __future__ import annotations

import json
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from hasgpu.prediction.reference import IntervalFactors, Reference, Scales
from hasgpu.prediction.statics import StaticModel
from hasgpu.prediction.trees import Trees

from .errors import FitError

NAME = "reference.json"
VERSION = 1
_DIGITS = 7


def packaged_reference() -> Reference:
    """The reference that comes with the package."""
    return parse_reference(files("hasgpu.prediction").joinpath(NAME).read_text(), NAME)


def write_reference(path: Path, reference: Reference) -> None:
    """Numbers keep seven significant digits, which is far below the noise of any label."""
    path.write_text(json.dumps(_plain(reference), indent=None, separators=(",", ":"), sort_keys=True) + "\n")


def parse_reference(text: str, name: str) -> Reference:
    """The inverse; ``name`` is told in errors."""
    try:
        raw = json.loads(text)
        if raw["version"] != VERSION:
            raise FitError(f"{name}: version {raw['version']} is not {VERSION}")
        return Reference(
            mean=np.array(raw["mean"]),
            directions=np.array(raw["directions"]),
            variances=np.array(raw["variances"]),
            scales=Scales(**raw["scales"]),
            statics=_statics(raw["statics"]),
            correction=_trees(raw["correction"]),
            intervals=IntervalFactors(
                cells=tuple(raw["intervals"]["cells"]), factors=tuple(raw["intervals"]["factors"])
            ),
            models=tuple(raw["models"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise FitError(f"{name}: {error}") from error


def _plain(reference: Reference) -> dict[str, Any]:
    statics, trees = reference.statics, reference.correction
    return {
        "version": VERSION,
        "models": list(reference.models),
        "mean": _numbers(reference.mean),
        "directions": _numbers(reference.directions),
        "variances": _numbers(reference.variances),
        "scales": asdict(reference.scales),
        "statics": {
            "names": list(statics.names),
            "center": _numbers(statics.center),
            "scale": _numbers(statics.scale),
            "known": _numbers(statics.known),
            "length": statics.length,
            "weights": _numbers(statics.weights),
            "unexplained": _numbers(statics.unexplained),
        },
        "correction": {
            "baseline": float(f"{trees.baseline:.{_DIGITS}g}"),
            "roots": trees.roots.tolist(),
            "feature": trees.feature.tolist(),
            "threshold": _numbers(trees.threshold),
            "left": trees.left.tolist(),
            "right": trees.right.tolist(),
            "value": _numbers(trees.value),
            "depth": trees.depth,
        },
        "intervals": {
            "cells": list(reference.intervals.cells),
            "factors": [round(factor, 4) for factor in reference.intervals.factors],
        },
    }


def _numbers(array: Any) -> Any:
    if isinstance(array, np.ndarray):
        return [_numbers(item) for item in array]
    return float(f"{float(array):.{_DIGITS}g}")


def _statics(raw: dict[str, Any]) -> StaticModel:
    return StaticModel(
        names=tuple(raw["names"]),
        center=np.array(raw["center"]),
        scale=np.array(raw["scale"]),
        known=np.array(raw["known"]),
        length=float(raw["length"]),
        weights=np.array(raw["weights"]),
        unexplained=np.array(raw["unexplained"]),
    )


def _trees(raw: dict[str, Any]) -> Trees:
    whole = {key: np.array(raw[key], dtype=np.int64) for key in ("roots", "feature", "left", "right")}
    return Trees(
        baseline=float(raw["baseline"]),
        threshold=np.array(raw["threshold"], dtype=np.float64),
        value=np.array(raw["value"], dtype=np.float64),
        depth=int(raw["depth"]),
        **whole,
    )
