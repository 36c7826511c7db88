"""Ranking metrics over file paths, counted on the first ten distinct files, and intervals for rates. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

TOP = 10
BOOTSTRAP_ROUNDS = 2000
BOOTSTRAP_SEED = 0  # fixed: the same figures give the same interval
Z95 = 1.959963984540054  # two-sided 95 % of the normal distribution


@dataclass(frozen=True, slots=True)
class RankMetrics:
    """How well one ranked list of files serves one query; each value lies in 0..1."""

    ndcg: float
    hit1: float
    hit5: float
    hit10: float
    mrr: float
    recall: float


NAMES: tuple[str, ...] = tuple(RankMetrics.__dataclass_fields__)


def first_distinct(paths: Iterable[str], limit: int = TOP) -> list[str]:
    """Return the first distinct paths in their order."""
    return list(dict.fromkeys(paths))[:limit]


def score_ranking(wanted: Sequence[str], ranked: Sequence[str]) -> RankMetrics:
    """Score a ranked list of paths against the wanted ones (all of equal worth). `wanted` must not be empty.

    The ideal of NDCG has min(10, number of wanted paths) hits in front.
    """
    targets = list(dict.fromkeys(wanted))
    if not targets:
        raise ValueError("A query without wanted paths cannot be scored as a ranking; it is scored by abstention.")
    top = list(ranked[:TOP])
    ranks = [top.index(path) + 1 for path in targets if path in top]
    first = min(ranks, default=0)
    return RankMetrics(
        ndcg=ndcg(ranks, len(targets)),
        hit1=float(first == 1),
        hit5=float(0 < first <= 5),
        hit10=float(first > 0),
        mrr=1 / first if first else 0.0,
        recall=len(ranks) / len(targets),
    )


def ndcg(ranks: Iterable[int], n_relevant: int, k: int = TOP) -> float:
    """Return binary NDCG@k of 1-based ranks."""
    found = sum(1 / math.log2(rank + 1) for rank in set(ranks) if rank <= k)
    return found / sum(1 / math.log2(i + 2) for i in range(min(k, n_relevant)))


def mean(values: Iterable[float]) -> float:
    """Return the mean; NaN for nothing, so that an empty group can never pass a floor."""
    known = list(values)
    return sum(known) / len(known) if known else math.nan


def mean_metrics(rows: Sequence[RankMetrics]) -> RankMetrics:
    """Return the mean of each metric; NaN where there is no row."""
    return RankMetrics(**{name: mean(getattr(row, name) for row in rows) for name in NAMES})


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which `share` (0..1) of the values lie (nearest rank); NaN for nothing."""
    if not values:
        return math.nan
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """Return the 95 % Wilson interval of a rate; (NaN, NaN) without trials."""
    if trials == 0:
        return math.nan, math.nan
    rate = successes / trials
    centre = rate + Z95**2 / (2 * trials)
    spread = Z95 * math.sqrt(rate * (1 - rate) / trials + Z95**2 / (4 * trials**2))
    scale = 1 + Z95**2 / trials
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


def bootstrap(differences: Sequence[float]) -> tuple[float, float]:
    """Return the 95 % percentile interval of the mean of paired differences; (NaN, NaN) for nothing.

    Efron 1979: whole pairs are drawn again with replacement, so what is hard for both sides cancels out.
    """
    if not differences:
        return math.nan, math.nan
    values = np.asarray(differences, dtype=np.float64)
    picks = np.random.default_rng(BOOTSTRAP_SEED).integers(0, len(values), (BOOTSTRAP_ROUNDS, len(values)))
    low, high = np.percentile(values[picks].mean(axis=1), (2.5, 97.5))
    return float(low), float(high)


def rounded(values: Mapping[str, float], digits: int = 4) -> dict[str, float | None]:
    """Return values rounded; NaN is null, never zero."""
    return {name: None if math.isnan(value) else round(value, digits) for name, value in values.items()}
