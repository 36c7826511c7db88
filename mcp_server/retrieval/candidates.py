"""Retrievers: each returns its own ranked candidates. Failures of one leave the others whole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from ingest.index.scored import Ids, ScoredChunks, Scores
from ingest.model import Filters
from mcp_server.retrieval.query import ParsedQuery, bare_name
from mcp_server.retrieval.weights import RankWeights

if TYPE_CHECKING:
    from ingest.index import Index

Retriever = Literal["text", "vector", "symbol", "link", "history", "frames", "references", "users"]

HOW_SCORES = {"exact": 1.0, "qualified": 1.0, "case": 0.8, "prefix": 0.35, "part": 0.25}
MAX_PHRASE_WORDS = 3
MAX_PHRASES = 16


class Candidate(NamedTuple):
    """A chunk with one retriever's score, and how it was found where that is said."""

    chunk_id: int
    score: float
    how: str = ""


@dataclass(frozen=True, slots=True)
class RankedList:
    """What one retriever found, in columns: the best first, each chunk once; the place of a chunk is its rank - 1.

    `hows` says how each chunk was found, and is empty where there is nothing to say.
    """

    retriever: Retriever
    ids: Ids
    scores: Scores
    hows: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[Candidate]:
        return map(Candidate, self.ids.tolist(), self.scores.tolist(), self.hows or ("",) * len(self))

    def first(self, count: int) -> RankedList:
        """Return the best candidates."""
        return RankedList(self.retriever, self.ids[:count], self.scores[:count], self.hows[:count])

    def without(self, gone: Iterable[int]) -> RankedList:
        """Return the list without some chunks, the others moved up."""
        stays = ~np.isin(self.ids, np.fromiter(gone, dtype=np.int64))
        hows = tuple(how for how, stay in zip(self.hows, stays.tolist(), strict=True) if stay) if self.hows else ()
        return RankedList(self.retriever, self.ids[stays], self.scores[stays], hows)

    def by_id(self) -> dict[int, tuple[int, float]]:
        """Return rank and score of each chunk."""
        columns = zip(self.ids.tolist(), self.scores.tolist(), strict=True)
        return {i: (at, score) for at, (i, score) in enumerate(columns, 1)}

    def rows(self) -> list[list[object]]:
        """Return what a trace keeps of each candidate: id, score, and how it was found where that is said."""
        if not self.hows:
            return [[i, score] for i, score in zip(self.ids.tolist(), self.scores.tolist(), strict=True)]
        return [[c.chunk_id, c.score, *([{"how": c.how}] if c.how else [])] for c in self]


def rank_candidates(retriever: Retriever, scored: Sequence[tuple[int, float, str]]) -> RankedList:
    """Return candidates in total order: score, then chunk id; the best score of a chunk counts."""
    best: dict[int, tuple[float, str]] = {}
    for chunk_id, score, how in scored:
        if chunk_id not in best or best[chunk_id][0] < score:
            best[chunk_id] = (score, how)
    ordered = sorted(best.items(), key=lambda item: (-item[1][0], item[0]))
    ids = np.array([chunk_id for chunk_id, _ in ordered], dtype=np.int64)
    hows = tuple(how for _, (_, how) in ordered)
    return RankedList(retriever, ids, np.array([score for _, (score, _) in ordered]), hows if any(hows) else ())


def from_scored(retriever: Retriever, found: ScoredChunks) -> RankedList:
    """Return what an engine found, which is in order already."""
    return RankedList(retriever, found.ids, found.scores)


def retrieve_text(index: Index, query: ParsedQuery, filters: Filters, weights: RankWeights) -> RankedList:
    """BM25 over the weighted fields."""
    terms = [(term.token, term.weight) for term in query.terms]
    return from_scored("text", index.search_text(terms, filters, weights.depth, weights.fields))


def retrieve_vector(index: Index, query: ParsedQuery, filters: Filters, weights: RankWeights) -> RankedList:
    """Cosine of the query's embedding. Raises VectorUnavailable or EmbedderMismatch."""
    return from_scored("vector", index.search_vector(query.text, filters, weights.depth))


def name_phrases(query: ParsedQuery) -> list[str]:
    """Return neighbouring words joined as code would join them: 'rate limiter' -> ratelimiter, rate_limiter."""
    content = [word for word in query.keywords if word.isalnum()]
    phrases: dict[str, None] = {}
    for size in range(MAX_PHRASE_WORDS, 1, -1):
        for start in range(len(content) - size + 1):
            group = content[start : start + size]
            phrases.setdefault("".join(group))
            phrases.setdefault("_".join(group))
    return list(phrases)[:MAX_PHRASES]


def symbol_names(query: ParsedQuery) -> list[str]:
    """Return the names to look up in the symbol table, the query's own names first."""
    is_place = any(place.text == query.text for place in query.places)
    lone = [bare_name(query.text)] if len(query.text.split()) == 1 and not is_place else []
    return list(dict.fromkeys((*lone, *query.identifiers)))


def retrieve_symbol(index: Index, query: ParsedQuery, filters: Filters, weights: RankWeights) -> RankedList:
    """Definitions of the names in the query, and of its words joined into names."""
    scored: list[tuple[int, float, str]] = []
    for name in symbol_names(query):
        hits = index.find_symbol(name, filters, weights.candidates, loose=query.route == "symbol")
        scored.extend((hit.chunk_id, HOW_SCORES[hit.how], hit.how) for hit in hits)
    for phrase in name_phrases(query) if query.route == "conceptual" else ():
        for hit in index.find_symbol(phrase, filters, 10, loose=False):
            scored.append((hit.chunk_id, 0.5, "words"))
    return rank_candidates("symbol", scored).first(weights.candidates)
