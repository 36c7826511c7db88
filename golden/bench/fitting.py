"""Logistic regression for the few weights that ship with the program: fitted on development questions, by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
RIDGE = 1.0
STEPS = 40
TOLERANCE = 1e-6


def fit_logistic(
    rows: Sequence[Sequence[float]] | Array, labels: Sequence[float] | Array, ridge: float = RIDGE
) -> tuple[float, ...]:
    """Return weights for raw features, the first of which is 1 (Newton, ridge on standardised features)."""
    x: Array = np.asarray(rows, dtype=float)
    y: Array = np.asarray(labels, dtype=float)
    mean, spread = x.mean(axis=0), x.std(axis=0) + 1e-9
    mean[0], spread[0] = 0.0, 1.0
    z = (x - mean) / spread
    penalty = ridge * np.eye(x.shape[1])
    penalty[0, 0] = 0.0
    weights = np.zeros(x.shape[1])
    for _ in range(STEPS):
        p = 1 / (1 + np.exp(-z @ weights))
        curvature = (z * (p * (1 - p) + 1e-9)[:, None]).T @ z + penalty
        step = np.linalg.solve(curvature, z.T @ (y - p) - penalty @ weights)
        weights = weights + step
        if float(np.abs(step).max()) < TOLERANCE:
            break
    raw = weights / spread
    raw[0] -= float((mean / spread * weights)[1:].sum())
    return tuple(round(float(value), 4) for value in raw)
