"""Boosted regression trees, evaluated with numpy alone, so that no serving process needs the library that grew them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trees:
    """Nodes of all trees in one table; a leaf points at itself."""

    baseline: float
    roots: Ints
    feature: Ints
    threshold: Floats
    left: Ints
    right: Ints
    value: Floats
    depth: int

    def predict(self, features: Floats) -> Floats:
        """The sum of the leaves that each row reaches; ``features`` has one row for each answer."""
        total = np.full(len(features), self.baseline)
        rows = np.arange(len(features))
        for root in self.roots:
            node = np.full(len(features), root)
            for _ in range(self.depth):
                goes_left = features[rows, self.feature[node]] <= self.threshold[node]
                node = np.where(goes_left, self.left[node], self.right[node])
            total += self.value[node]
        return total


NO_TREES = Trees(
    baseline=0.0,
    roots=np.zeros(0, dtype=np.int64),
    feature=np.zeros(0, dtype=np.int64),
    threshold=np.zeros(0),
    left=np.zeros(0, dtype=np.int64),
    right=np.zeros(0, dtype=np.int64),
    value=np.zeros(0),
    depth=0,
)
"""Corrects nothing."""
