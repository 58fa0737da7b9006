"""Process fitter: learns typical curves and how models differ from them. Numpy alone; reads no file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from hasgpu.prediction.cells import GRID_BATCHES, GRID_QUOTAS, GRID_SMS, product_of
from hasgpu.prediction.field import fit_field
from hasgpu.prediction.reference import Reference, Scales, core_of, first_guess
from hasgpu.prediction.statics import STATIC_FEATURES, StaticModel, resemblance, standardised

from .measured import MeasuredModel

Floats = NDArray[np.float64]

RANK = 12
INFLATION = 3.0
"""The spread of the few known models is less than that of all models."""
_ROUNDS = 2
_LAUNCH_SMS = (15, 40, 100)
"""SM shares whose whole quota line is used to learn the curves; at quota 100 all are."""
_LENGTHS = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
_NUGGETS = (0.02, 0.1, 0.3, 0.6, 1.0)


def learn_reference(models: Sequence[MeasuredModel], scales: Scales) -> Reference:
    """The reference that these models teach, without statics, correction and intervals."""
    reference = replace(_start(models), scales=scales)
    cores = np.zeros((0, 0))
    for _ in range(_ROUNDS):
        cores = np.array([_core(reference, model) for model in models])
        reference = _reference(cores, scales)
    return replace(reference, models=tuple(model.name for model in models), statics=_statics(models, cores, reference))


def _start(models: Sequence[MeasuredModel]) -> Reference:
    corner = np.concatenate([_values(m, m.points.batch == 8, m.points.sm == 5) for m in models])
    seen = {
        quota: np.concatenate(
            [_values(m, m.points.sm >= 80, m.points.quota == quota, m.points.batch == 1) for m in models]
        )
        for quota in GRID_QUOTAS
    }
    known = [quota for quota in GRID_QUOTAS if len(seen[quota])]
    launch = np.interp(np.log(GRID_QUOTAS), np.log(known), [seen[quota].mean() for quota in known])
    return first_guess(float(corner.mean()), launch)


def _values(model: MeasuredModel, *conditions: NDArray[np.bool_]) -> Floats:
    chosen = np.logical_and.reduce(conditions)
    return model.log_seconds[chosen]


def _core(reference: Reference, model: MeasuredModel) -> Floats:
    """Log work and log launch time of one model on the grid."""
    part = model.only((model.points.quota == 100) | np.isin(model.points.sm, _LAUNCH_SMS))
    field = fit_field(reference, part.points, part.log_seconds)
    work = field.estimate(product_of(GRID_BATCHES, GRID_SMS, (100,))).work
    launch = field.estimate(product_of(GRID_BATCHES, GRID_SMS, GRID_QUOTAS)).launch
    return core_of(work, launch.reshape(-1, len(GRID_QUOTAS)).mean(axis=0))


def _reference(cores: Floats, scales: Scales) -> Reference:
    mean = cores.mean(axis=0)
    _, lengths, directions = np.linalg.svd(cores - mean, full_matrices=False)
    return Reference(
        mean=mean,
        directions=directions[:RANK].T,
        variances=INFLATION * lengths[:RANK] ** 2 / len(cores),
        scales=scales,
    )


def _statics(models: Sequence[MeasuredModel], cores: Floats, reference: Reference) -> StaticModel:
    """Gaussian regression of each direction's score; length and nugget by leave-one-out."""
    known = [index for index, model in enumerate(models) if model.statics is not None]
    table = np.array([[(models[i].statics or {})[name] for name in STATIC_FEATURES] for i in known])
    logs = np.log1p(table)
    center, scale = logs.mean(axis=0), np.maximum(logs.std(axis=0), 1e-6)
    features = standardised(table, center, scale)
    scores = (cores[known] - reference.mean) @ reference.directions / np.sqrt(reference.variances)
    best = (np.inf, 0.0, np.zeros(0), np.zeros(0))
    for length in _LENGTHS:
        errors, weights = _regression(resemblance(features, features, length), scores)
        # The first directions carry most of the spread, so they choose the length.
        loss = float((errors * reference.variances).sum())
        if loss < best[0]:
            best = (loss, length, weights, errors)
    return StaticModel(
        names=STATIC_FEATURES,
        center=center,
        scale=scale,
        known=features,
        length=best[1],
        weights=best[2],
        unexplained=np.minimum(best[3], 1.0),
    )


def _regression(likeness: Floats, scores: Floats) -> tuple[Floats, Floats]:
    """Leave-one-out squared error and weights for each score, with the best nugget of each."""
    errors, weights = [], []
    for score in scores.T:
        tried = []
        for nugget in _NUGGETS:
            inverse = np.linalg.inv(likeness + nugget * np.eye(len(likeness)))
            dual = inverse @ score
            tried.append((float(((dual / np.diag(inverse)) ** 2).mean()), dual))
        error, dual = min(tried, key=lambda pair: pair[0])
        errors.append(error)
        weights.append(dual)
    return np.array(errors), np.array(weights).T
