"""Process fitter: models measured at most cells of a grid: each one's field, and one residual model over all of them.

The residual model learns from what each cell's neighbours say about it, never from a value that the cell itself went
into. Serves evaluation of known models; a single profile gets no residual model here (docs/rapp.md says why).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hasgpu.prediction.cells import Points
from hasgpu.prediction.field import Estimate, Field, fit_field
from hasgpu.prediction.reference import Reference
from hasgpu.prediction.trees import Trees

from .grow import grow_trees
from .measured import MeasuredModel

Floats = NDArray[np.float64]
Told = Callable[[float], None]

LOCALS = (0.0672, 0.12)
"""Widths of the local part that are tried for each model; leave-one-out picks."""
_SEED = 20250523


@dataclass(frozen=True, slots=True, kw_only=True)
class DenseModels:
    """Fields in the order of the models, and their common residual model."""

    fields: tuple[Field, ...]
    trees: Trees

    def estimate(self, index: int, at: Points) -> Estimate:
        """Of one of the models; on an SM share or a quota that nobody measured, trees know nothing."""
        field = self.fields[index]
        estimate = field.estimate(at)
        on_lines = np.isin(at.sm, field.measured.sm) & np.isin(at.quota, field.measured.quota)
        shift = np.where(on_lines, self.trees.predict(_features(index, at, estimate)), 0.0)
        return replace(estimate, latency=estimate.latency + shift)


def fit_dense(reference: Reference, models: Sequence[MeasuredModel], *, told: Told = lambda part: None) -> DenseModels:
    """Fields of all models, then trees on what each cell's neighbours leave open."""
    fields: list[Field] = []
    rows: list[Floats] = []
    residuals: list[Floats] = []
    for index, model in enumerate(models):
        field, beside = _best_field(reference, model)
        fields.append(field)
        rows.append(_features(index, model.points, beside))
        residuals.append(model.log_seconds - beside.latency)
        told((index + 1) / len(models))
    trees = grow_trees(
        np.concatenate(rows),
        np.concatenate(residuals),
        seed=_SEED,
        iterations=400,
        leaves=63,
        least_leaf=20,
        learning_rate=0.06,
    )
    return DenseModels(fields=tuple(fields), trees=trees)


def _best_field(reference: Reference, model: MeasuredModel) -> tuple[Field, Estimate]:
    """The local width whose leave-one-out error is least."""
    tried = []
    for local in LOCALS:
        scaled = replace(reference, scales=replace(reference.scales, local=local))
        field = fit_field(scaled, model.points, model.log_seconds)
        beside = field.without_itself()
        tried.append((float(np.abs(beside.latency - model.log_seconds).mean()), field, beside))
    _, field, beside = min(tried, key=lambda row: row[0])
    return field, beside


def _features(index: int, at: Points, estimate: Estimate) -> Floats:
    return np.column_stack(
        [
            estimate.work,
            estimate.launch,
            np.clip(estimate.work - estimate.launch, -3.0, 3.0),
            estimate.latency,
            at.batch,
            at.sm,
            at.quota,
            estimate.deviation,
            np.full(len(at), index),
        ]
    )
