"""Fusion: weighted reciprocal ranks; each retriever's contribution is kept for the trace."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ingest.index.scored import Ids, Scores
from mcp_server.retrieval.candidates import RankedList


@dataclass(frozen=True, slots=True)
class Fused:
    """All candidates in columns, the best first; its score is 1.

    `shares`: by retriever, in the order of their names, what it gives to each chunk, not a number where it did not
    find the chunk.
    """

    ids: Ids
    scores: Scores
    shares: Mapping[str, Scores]
    total: float = 1.0  # the sum of the best chunk's shares

    def __len__(self) -> int:
        return len(self.ids)

    def contributions(self, at: int) -> tuple[tuple[str, float], ...]:
        """Return (retriever, share of score) of the chunk at a place, sorted by retriever."""
        found = ((name, float(shares[at])) for name, shares in self.shares.items())
        return tuple([(name, share / self.total) for name, share in found if not math.isnan(share)])

    def places(self, ids: Any) -> Ids:  # noqa: ANN401 - any sequence of ids
        """Return the place of each of some chunks, all of which are here."""
        order = np.argsort(self.ids)
        places: Ids = order[np.searchsorted(self.ids, ids, sorter=order)]
        return places


def fuse(lists: Mapping[str, RankedList], weights: Mapping[str, float], rrf_k: int, last_rank: int) -> Fused:
    """Return chunks by weighted reciprocal rank (Cormack, Clarke, Buettcher 2009): sum of weight / (k + rank).

    Candidates behind `last_rank`, and those of a retriever without a weight (history and frames: what they say is a
    feature), stay in the list without a share: their files may still be what is looked for.
    """
    names = sorted(lists)
    ids = np.unique(np.concatenate([lists[name].ids for name in names] or [np.zeros(0, dtype=np.int64)]))
    totals: Scores = np.zeros(len(ids))
    columns: dict[str, Scores] = {}
    # The sum runs over the retrievers in the order of their names: the same lists give the same score to the last bit.
    for name in names:
        at, ranks = np.searchsorted(ids, lists[name].ids), np.arange(1, len(lists[name]) + 1)
        columns[name] = np.full(len(ids), np.nan)
        columns[name][at] = np.where(ranks <= last_rank, weights.get(name, 0.0) / (rrf_k + ranks), 0.0)
        totals[at] += columns[name][at]
    order = np.lexsort((ids, -totals))
    best = float(totals.max(initial=0.0)) or 1.0
    return Fused(ids[order], totals[order] / best, {name: column[order] for name, column in columns.items()}, best)
