"""Fusion: weighted reciprocal ranks; each retriever's contribution is kept for the trace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from mcp_server.retrieval.candidates import Candidate


class Fused(NamedTuple):
    """A chunk with the sum of its retrievers' contributions, scaled so that the best chunk has 1."""

    chunk_id: int
    score: float
    shares: Mapping[str, float]  # by retriever, in the order of their names
    best: float = 1.0  # the sum of the best chunk's shares

    @property
    def contributions(self) -> tuple[tuple[str, float], ...]:
        """(retriever, share of score), sorted by retriever."""
        return tuple([(name, share / self.best) for name, share in self.shares.items()])


def fuse(
    lists: Mapping[str, Sequence[Candidate]], weights: Mapping[str, float], rrf_k: int, last_rank: int
) -> list[Fused]:
    """Return chunks by weighted reciprocal rank (Cormack, Clarke, Buettcher 2009): sum of weight / (k + rank).

    Candidates behind `last_rank`, and those of a retriever without a weight (history and frames: what they say is a
    feature), stay in the list without a share: their files may still be what is looked for.
    """
    shares: dict[int, dict[str, float]] = {}
    for retriever in sorted(lists):
        for candidate in lists[retriever]:
            share = weights.get(retriever, 0.0) / (rrf_k + candidate.rank) if candidate.rank <= last_rank else 0.0
            shares.setdefault(candidate.chunk_id, {})[retriever] = share
    # Both sums run over the retrievers in the order of their names: the same lists give the same score to the last bit.
    totals = {chunk_id: sum(parts.values()) for chunk_id, parts in shares.items()}
    best = max(totals.values(), default=0.0) or 1.0
    ordered = sorted(totals, key=lambda chunk_id: (-totals[chunk_id], chunk_id))
    return [Fused(c, totals[c] / best, shares[c], best) for c in ordered]
