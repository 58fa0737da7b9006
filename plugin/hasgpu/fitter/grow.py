"""Process fitter: grows the correction with scikit-learn and takes its trees apart for numpy. Reads no file."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hasgpu.prediction.trees import Trees

Floats = NDArray[np.float64]


def grow_trees(
    features: Floats,
    residual: Floats,
    *,
    seed: int,
    iterations: int = 60,
    leaves: int = 8,
    least_leaf: int = 200,
    learning_rate: float = 0.05,
) -> Trees:
    """Boosted trees for the absolute error of a log residual, as plain arrays."""
    # Costs a second and 100 MB; only training pays for it.
    from sklearn.ensemble import HistGradientBoostingRegressor

    model = HistGradientBoostingRegressor(
        loss="absolute_error",
        max_iter=iterations,
        max_leaf_nodes=leaves,
        min_samples_leaf=least_leaf,
        learning_rate=learning_rate,
        l2_regularization=1.0,
        random_state=seed,
        early_stopping=False,
    )
    model.fit(features, residual)
    return taken_apart(model)


def taken_apart(model: Any) -> Trees:
    """The nodes of a fitted HistGradientBoostingRegressor without categories and missing values."""
    tables = [stage[0].nodes for stage in model._predictors]
    sizes = [len(table) for table in tables]
    roots = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64)
    nodes = np.concatenate(tables)
    offset = np.repeat(roots, sizes)
    own = np.arange(len(nodes), dtype=np.int64)
    leaf = nodes["is_leaf"].astype(bool)
    return Trees(
        baseline=float(np.ravel(model._baseline_prediction)[0]),
        roots=roots,
        feature=np.where(leaf, 0, nodes["feature_idx"]).astype(np.int64),
        threshold=np.where(leaf, 0.0, nodes["num_threshold"]),
        left=np.where(leaf, own, nodes["left"].astype(np.int64) + offset),
        right=np.where(leaf, own, nodes["right"].astype(np.int64) + offset),
        value=np.where(leaf, nodes["value"], 0.0),
        depth=int(max(table["depth"].max() for table in tables)),
    )
