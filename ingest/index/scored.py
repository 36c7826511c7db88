"""What a search of one engine finds, in columns: a query handles hundreds of chunks, and shows a few."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np

Ids = np.ndarray[Any, np.dtype[np.int64]]
Scores = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True, slots=True)
class Scored:
    """One retrieved chunk id with the engine's own score (BM25 sum or cosine)."""

    chunk_id: int
    score: float


class ScoredChunks(Sequence[Scored]):
    """Retrieved chunks in total order: the best first, of equals the smallest id."""

    __slots__ = ("ids", "scores")

    def __init__(self, ids: Sequence[int] | Ids = (), scores: Sequence[float] | np.ndarray[Any, Any] = ()) -> None:
        """Put chunks in order."""
        unordered, their = np.asarray(ids, dtype=np.int64), np.asarray(scores, dtype=np.float64)
        order = np.lexsort((unordered, -their))
        self.ids: Ids = unordered[order]
        self.scores: Scores = their[order]

    def by_id(self) -> dict[int, float]:
        """Return the score of each chunk."""
        return dict(zip(self.ids.tolist(), self.scores.tolist(), strict=True))

    def __len__(self) -> int:
        return len(self.ids)

    @overload
    def __getitem__(self, at: int) -> Scored: ...

    @overload
    def __getitem__(self, at: slice) -> ScoredChunks: ...

    def __getitem__(self, at: int | slice) -> Scored | ScoredChunks:
        if isinstance(at, slice):
            return ScoredChunks(self.ids[at], self.scores[at])
        return Scored(int(self.ids[at]), float(self.scores[at]))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]
