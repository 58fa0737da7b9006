"""Process fitter: the protocols a predictor is judged by. One fixed seed; nothing here is tuned on a test part.

Every protocol yields the errors of its test part and whether the 90 % interval held. Intervals are split conformal:
calibrated on cells or models that are neither trained nor tested on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hasgpu.model.profile import Cell, Measurement
from hasgpu.prediction.cells import Points
from hasgpu.prediction.rapp import fit_rapp
from hasgpu.prediction.reference import Reference, Scales

from .core import learn_reference
from .dense import DenseModels, fit_dense
from .designs import DESIGNS, design
from .measured import MeasuredModel
from .train import COVERAGE, train_reference

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Told = Callable[[float], None]

SEED = 0
FAMILY_FOLDS = 6
UNSEEN_SMS, CALIBRATING_SMS = (15, 40, 65, 90), (10, 35, 60, 85)
UNSEEN_QUOTAS, CALIBRATING_QUOTAS = (30, 60, 90), (40, 80)
UNSEEN = replace(Scales(), noise_freedom=5.0, local_quota_length=3.0)
"""Chosen on the calibrating quotas: between lines, what is local must reach farther, and single cells mislead more."""
PRODUCT = "Tesla-V100-SXM2-16GB"
"""What the published tables were measured on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Errors:
    """Of one protocol's test part: |predicted / measured - 1|, and whether the interval held."""

    relative: Floats
    held: Bools

    @property
    def mape_percent(self) -> float:
        """Mean absolute percentage error."""
        return 100.0 * float(self.relative.mean())

    def quantile_percent(self, part: float) -> float:
        """A quantile of the absolute percentage error."""
        return 100.0 * float(np.quantile(self.relative, part))

    @property
    def coverage_percent(self) -> float:
        """How often the interval held."""
        return 100.0 * float(self.held.mean())


def merged(parts: Sequence[Errors]) -> Errors:
    """All cells of several models together."""
    return Errors(
        relative=np.concatenate([part.relative for part in parts]), held=np.concatenate([part.held for part in parts])
    )


def random_split(models: Sequence[MeasuredModel], told: Told) -> Errors:
    """80/10/10 over all rows, sorted by model, batch, SM and quota; the middle tenth calibrates the interval."""
    sizes = [len(model.points) for model in models]
    order = np.random.default_rng(SEED).permutation(sum(sizes))
    part = np.full(sum(sizes), 2)
    part[order[: int(0.8 * len(order))]] = 0
    part[order[int(0.8 * len(order)) : int(0.9 * len(order))]] = 1
    parts = np.split(part, np.cumsum(sizes)[:-1])
    trained = [model.only(p == 0) for model, p in zip(models, parts, strict=True)]
    dense = fit_dense(learn_reference(trained, Scales()), trained, told=told)
    factor = _factor(dense, models, [p == 1 for p in parts])
    return _judged(dense, models, [p == 2 for p in parts], factor)


def unseen_configurations(models: Sequence[MeasuredModel], axis: str, told: Told) -> Errors:
    """Whole SM shares or quotas left out; others, left out in a second fit, calibrate the interval."""
    unseen, calibrating = (UNSEEN_SMS, CALIBRATING_SMS) if axis == "sm" else (UNSEEN_QUOTAS, CALIBRATING_QUOTAS)
    tests = [np.isin(getattr(model.points, axis), unseen) for model in models]
    trained = [model.only(~test) for model, test in zip(models, tests, strict=True)]
    without = [np.isin(getattr(model.points, axis), calibrating) for model in trained]
    halved = [model.only(~left_out) for model, left_out in zip(trained, without, strict=True)]
    calibrator = fit_dense(learn_reference(halved, UNSEEN), halved, told=lambda part: told(part / 2))
    factor = _factor(calibrator, trained, without)
    dense = fit_dense(learn_reference(trained, UNSEEN), trained, told=lambda part: told((1 + part) / 2))
    return _judged(dense, models, tests, factor)


def families_left_out(models: Sequence[MeasuredModel], told: Told) -> dict[int, Errors]:
    """By number of measured cells: each family predicted by a reference that never saw it."""
    found: dict[int, list[Errors]] = {cells: [] for cells in DESIGNS}
    for done, fold in enumerate(family_folds(models)):
        reference = train_reference([m for i, m in enumerate(models) if i not in fold])
        for index in sorted(fold):
            for cells in DESIGNS:
                found[cells].append(judged_by(reference, models[index], cells))
        told((done + 1) / FAMILY_FOLDS)
    return {cells: merged(parts) for cells, parts in found.items()}


def kept_aside(reference: Reference, models: Sequence[MeasuredModel], told: Told) -> dict[int, Errors]:
    """By number of measured cells: models that the reference was not trained on."""
    found: dict[int, Errors] = {}
    for done, cells in enumerate(DESIGNS):
        found[cells] = merged([judged_by(reference, model, cells) for model in models])
        told((done + 1) / len(DESIGNS))
    return found


def family_folds(models: Sequence[MeasuredModel]) -> Iterator[frozenset[int]]:
    """Six folds of whole families, as in the published reference scores."""
    from sklearn.model_selection import GroupKFold

    groups = [model.family for model in models]
    for _, test in GroupKFold(FAMILY_FOLDS).split(groups, groups=groups):
        yield frozenset(int(index) for index in test)


def judged_by(reference: Reference, model: MeasuredModel, cells: int) -> Errors:
    """One model, measured at a design's cells alone, through the same function that `profile fit` uses."""
    known = design(model.points, cells)
    measured = model.only(known)
    measurement = Measurement(gpu_product=PRODUCT, gate="launch", window_ms=40.0, cells=cells_of(measured))
    table = fit_rapp(reference, measurement, statics=model.statics if cells < DESIGNS[2] else None)
    prediction = table.predict(model.points.at(~known))
    true = np.exp(model.log_seconds[~known])
    return Errors(
        relative=np.abs(prediction.latency_s / true - 1.0),
        held=(prediction.low_s <= true) & (true <= prediction.high_s),
    )


def cells_of(model: MeasuredModel) -> tuple[Cell, ...]:
    """The model's cells as a profile holds them."""
    points: Points = model.points
    return tuple(
        Cell(batch=int(b), sm_percent=int(s), quota_percent=int(q), latency_ms=1000.0 * float(np.exp(y)))
        for b, s, q, y in zip(points.batch, points.sm, points.quota, model.log_seconds, strict=True)
    )


def _factor(dense: DenseModels, models: Sequence[MeasuredModel], chosen: Sequence[Bools]) -> float:
    scores = []
    for index, (model, part) in enumerate(zip(models, chosen, strict=True)):
        estimate = dense.estimate(index, model.points.at(part))
        scores.append(np.abs(model.log_seconds[part] - estimate.latency) / estimate.deviation)
    return float(np.quantile(np.concatenate(scores), COVERAGE, method="higher"))


def _judged(dense: DenseModels, models: Sequence[MeasuredModel], chosen: Sequence[Bools], factor: float) -> Errors:
    parts = []
    for index, (model, part) in enumerate(zip(models, chosen, strict=True)):
        estimate = dense.estimate(index, model.points.at(part))
        off = estimate.latency - model.log_seconds[part]
        parts.append(Errors(relative=np.abs(np.expm1(off)), held=np.abs(off) <= factor * estimate.deviation))
    return merged(parts)
