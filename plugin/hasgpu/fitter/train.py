"""Process fitter: trains a reference: curves, then the correction and the intervals on models it has not seen.

Every residual used here is out of fold: the model's family took no part in the reference that predicted it. Seeded and
in a fixed order, so that the same data give the same file bit for bit. Reads no file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hasgpu.prediction.correction import correction_features, correction_share
from hasgpu.prediction.field import fit_field
from hasgpu.prediction.reference import IntervalFactors, Reference, Scales
from hasgpu.prediction.trees import NO_TREES, Trees

from .core import learn_reference
from .designs import DESIGNS, design, scattered
from .grow import grow_trees
from .measured import MeasuredModel

Floats = NDArray[np.float64]
Told = Callable[[float], None]
"""Told the part that is done."""

COVERAGE = 0.9
_FOLDS = 3
_ROWS = 150
"""Cells of each model and design that residuals are taken at."""
_DENSE_PART = 0.8
_DENSE_MODELS = 6
"""Every sixth model calibrates the dense end."""
_SEED = 20250523


@dataclass(frozen=True, slots=True, kw_only=True)
class _Residuals:
    """Out-of-fold residuals of one fold of families at one design."""

    fold: int
    cells: int
    features: Floats
    residual: Floats
    deviation: Floats


def train_reference(
    models: Sequence[MeasuredModel], scales: Scales | None = None, *, told: Told = lambda part: None
) -> Reference:
    """A complete reference from measured models."""
    scales = scales or Scales()
    reference = learn_reference(models, scales)
    residuals: list[_Residuals] = []
    for fold, families in enumerate(_folds(models)):
        told((1 + fold) / (_FOLDS + 2))
        others = learn_reference([m for m in models if m.family not in families], scales)
        residuals += _out_of_fold(fold, others, [m for m in models if m.family in families])
    told((_FOLDS + 1) / (_FOLDS + 2))
    trees = _correction(residuals)
    intervals = _intervals(residuals)
    told(1.0)
    return replace(reference, correction=trees, intervals=intervals)


def _folds(models: Sequence[MeasuredModel]) -> list[frozenset[str]]:
    """Families dealt out by size, the largest first, always to the fold with the fewest models."""
    sizes: dict[str, int] = {}
    for model in models:
        sizes[model.family] = sizes.get(model.family, 0) + 1
    folds: list[list[str]] = [[] for _ in range(_FOLDS)]
    for family in sorted(sizes, key=lambda name: (-sizes[name], name)):
        min(folds, key=lambda fold: sum(sizes[name] for name in fold)).append(family)
    return [frozenset(fold) for fold in folds if fold]


def _out_of_fold(fold: int, reference: Reference, models: Sequence[MeasuredModel]) -> Iterator[_Residuals]:
    for index, model in enumerate(models):
        for cells in DESIGNS:
            yield _residuals(fold, reference, model, design(model.points, cells), index)
        if index % _DENSE_MODELS == 0:
            yield _residuals(fold, reference, model, scattered(model.points, _DENSE_PART, _SEED + index), index)


def _residuals(
    fold: int, reference: Reference, model: MeasuredModel, known: NDArray[np.bool_], index: int
) -> _Residuals:
    measured = model.only(known)
    given = reference.given(model.statics if len(measured.points) < DESIGNS[2] else None)
    field = fit_field(given, measured.points, measured.log_seconds)
    others = np.flatnonzero(~known)
    chosen = np.sort(np.random.default_rng(_SEED + index).permutation(others)[:_ROWS])
    at = model.points.at(chosen)
    estimate = field.estimate(at)
    return _Residuals(
        fold=fold,
        cells=len(measured.points),
        features=correction_features(field, at, estimate),
        residual=model.log_seconds[chosen] - estimate.latency,
        deviation=estimate.deviation,
    )


def _correction(residuals: Sequence[_Residuals]) -> Trees:
    """Trees for the few cells at which they are trusted."""
    used = [part for part in residuals if correction_share(part.cells) > 0.0]
    if not used:
        return NO_TREES
    return grow_trees(
        np.concatenate([part.features for part in used]), np.concatenate([part.residual for part in used]), seed=_SEED
    )


def _intervals(residuals: Sequence[_Residuals]) -> IntervalFactors:
    """Split conformal: the quantile of |residual| / deviation at each design, corrected by trees of the other folds."""
    folds = sorted({part.fold for part in residuals})
    trees = {fold: _correction([part for part in residuals if part.fold != fold]) for fold in folds}
    counts = sorted({_rounded(part.cells) for part in residuals})
    factors = []
    for count in counts:
        parts = [part for part in residuals if _rounded(part.cells) == count]
        scores = np.concatenate([_scores(part, trees[part.fold]) for part in parts])
        factors.append(float(np.quantile(scores, COVERAGE, method="higher")))
    return IntervalFactors(cells=tuple(counts), factors=tuple(factors))


def _scores(part: _Residuals, trees: Trees) -> Floats:
    shift = correction_share(part.cells) * trees.predict(part.features)
    result: Floats = np.abs(part.residual - shift) / part.deviation
    return result


def _rounded(cells: int) -> int:
    """The design that a count stands for: a model may lack a cell of it."""
    nearest = min(DESIGNS, key=lambda count: abs(count - cells))
    return nearest if abs(nearest - cells) <= max(1, nearest // 3) else 640
