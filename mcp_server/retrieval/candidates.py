"""Retrievers: each returns its own ranked candidates. Failures of one leave the others whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

from ingest.model import Filters
from mcp_server.retrieval.query import ParsedQuery, bare_name
from mcp_server.retrieval.weights import RankWeights

if TYPE_CHECKING:
    from ingest.index import Index

Retriever = Literal["text", "vector", "symbol", "link", "history", "frames", "references"]

HOW_SCORES = {"exact": 1.0, "qualified": 1.0, "case": 0.8, "prefix": 0.35, "part": 0.25}
MAX_PHRASE_WORDS = 3
MAX_PHRASES = 16


class Candidate(NamedTuple):
    """A chunk with one retriever's score and rank (1 = best)."""

    chunk_id: int
    retriever: Retriever
    score: float
    rank: int
    how: str = ""


def rank_candidates(retriever: Retriever, scored: Sequence[tuple[int, float, str]]) -> list[Candidate]:
    """Return candidates in total order: score, then chunk id; the best score of a chunk counts."""
    best: dict[int, tuple[float, str]] = {}
    for chunk_id, score, how in scored:
        if chunk_id not in best or best[chunk_id][0] < score:
            best[chunk_id] = (score, how)
    ordered = sorted(best.items(), key=lambda item: (-item[1][0], item[0]))
    return [Candidate(c, retriever, score, rank, how) for rank, (c, (score, how)) in enumerate(ordered, 1)]


def retrieve_text(index: Index, query: ParsedQuery, filters: Filters, weights: RankWeights) -> list[Candidate]:
    """BM25 over the weighted fields."""
    terms = [(term.token, term.weight) for term in query.terms]
    scored = index.search_text(terms, filters, weights.depth, weights.fields)
    return rank_candidates("text", [(s.chunk_id, s.score, "") for s in scored])


def retrieve_vector(index: Index, query: ParsedQuery, filters: Filters, weights: RankWeights) -> list[Candidate]:
    """Cosine of the query's embedding. Raises VectorUnavailable or EmbedderMismatch."""
    scored = index.search_vector(query.text, filters, weights.depth)
    return rank_candidates("vector", [(s.chunk_id, s.score, "") for s in scored])


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
    lone = [bare_name(query.text)] if len(query.text.split()) == 1 else []
    return list(dict.fromkeys((*lone, *query.identifiers)))


def retrieve_symbol(index: Index, query: ParsedQuery, filters: Filters, weights: RankWeights) -> list[Candidate]:
    """Definitions of the names in the query, and of its words joined into names."""
    scored: list[tuple[int, float, str]] = []
    for name in symbol_names(query):
        hits = index.find_symbol(name, filters, weights.candidates, loose=query.route == "symbol")
        scored.extend((hit.chunk_id, HOW_SCORES[hit.how], hit.how) for hit in hits)
    for phrase in name_phrases(query) if query.route == "conceptual" else ():
        for hit in index.find_symbol(phrase, filters, 10, loose=False):
            scored.append((hit.chunk_id, 0.5, "words"))
    return rank_candidates("symbol", scored)[: weights.candidates]
