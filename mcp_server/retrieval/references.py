"""The references retriever: designs and tickets that similar code and similar commits name.

Who has a piece of code or the text of a change in hand and asks for its design shares few words with the design, but
code like it often says which one it follows: `// as in ADR-7`. So code and commits near to the query vote for what they
name, as commits vote for files. It follows what the caller may see, within one product, and runs only where no code is
asked for: beside code the designs need no such help. Who names a file and asks for its design or ticket gets those that
name the file, whatever else is asked for.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from ingest.index.keys import find_design_keys, find_ticket_keys
from ingest.model import Chunk, Filters
from mcp_server.retrieval.candidates import RankedList, rank_candidates
from mcp_server.retrieval.links import read_linked, wanted
from mcp_server.retrieval.query import ParsedQuery
from mcp_server.retrieval.weights import RankWeights

if TYPE_CHECKING:
    from ingest.index import Index

VOTERS = 40  # chunks of code or commits, by words and again by vector
SHARPNESS = 2  # power of the similarity
NAMED_SHARE = 0.5  # a vote is divided by the number of named keys to this power
VECTOR_SHARE = 0.5  # weight of the vector side beside the words
MAX_NAMED = 20  # keys whose documents are looked up
ASKED_KINDS = {  # words that ask for a kind of document
    "design": re.compile(r"\b(?:designs?|adrs?|rfcs?|keps?|peps?|decisions?|decided|proposals?)\b", re.I),
    "ticket": re.compile(r"\b(?:tickets?|issues?|bugs?|incidents?|stor(?:y|ies)|pull requests?)\b", re.I),
}


def retrieve_references(index: Index, query: ParsedQuery, filters: Filters, weights: RankWeights) -> RankedList:
    """Return the first chunk of each design or ticket that similar code names, or that names the file asked about.

    The best has the score 1. Raises VectorUnavailable or EmbedderMismatch.
    """
    naming = [(chunk_id, 1.0, path) for chunk_id, path in documents_naming(index, query, filters)]
    return rank_candidates("references", [*voted(index, query, filters, weights), *naming])


def kinds_behind(query: ParsedQuery) -> list[str]:
    """Return of which kinds a query asks for the documents of a file that it names."""
    return [kind for kind, pattern in ASKED_KINDS.items() if query.paths and pattern.search(query.text)]


def documents_naming(index: Index, query: ParsedQuery, filters: Filters) -> Iterator[tuple[int, str]]:
    """Yield (chunk, path) of the designs or tickets asked for that name a file of the query, within its product."""
    kinds = kinds_behind(query)
    files = replace(filters, sources=filters.followed | filters.sources, path_glob="", language="")
    for path in query.paths if kinds else ():
        for source, found in index.find_paths(path, files, 2):
            own = replace(filters, product=index.product_of(source))
            documents = wanted(index, read_linked(index, index.linked_to(found, own, MAX_NAMED)), filters)
            yield from ((document.chunk_id, found) for document in documents if document.kind in kinds)


def voted(index: Index, query: ParsedQuery, filters: Filters, weights: RankWeights) -> list[tuple[int, float, str]]:
    """Return (chunk, score, key) of what similar code and commits name, where no code is asked for."""
    voters = replace(filters, sources=voting_sources(index, filters), path_glob="", language="")
    if not voters.sources:
        return []
    votes: dict[tuple[str, str], float] = {}
    for chunk, similarity in similar_chunks(index, query, voters, weights):
        keys = named_keys(chunk)
        for key in keys:
            place = (chunk.product, key)
            votes[place] = votes.get(place, 0.0) + similarity**SHARPNESS / len(keys) ** NAMED_SHARE
    scored = []
    for (product, key), vote in sorted(votes.items(), key=lambda item: (-item[1], item[0]))[:MAX_NAMED]:
        documents = index.chunks(index.find_keys(key, replace(filters, product=product)))
        first = {chunk.ref: chunk for chunk in sorted(documents, key=lambda c: (-c.start_line, c.id))}
        scored += [(chunk.id, vote, key) for chunk in first.values()]
    top = max((vote for _, vote, _ in scored), default=0.0) or 1.0
    return [(chunk_id, vote / top, key) for chunk_id, vote, key in scored]


def voting_sources(index: Index, filters: Filters) -> frozenset[str]:
    """Return the visible sources of code and commits, none where code is asked for."""
    code = {name for name in filters.followed if index.kind_of(name) == "code"}
    commits = {name for name in filters.followed if index.kind_of(name) == "commit"}
    return frozenset(code | commits) if code.isdisjoint(filters.sources) else frozenset()


def similar_chunks(
    index: Index, query: ParsedQuery, filters: Filters, weights: RankWeights
) -> list[tuple[Chunk, float]]:
    """Return the chunks nearest to the query, by words and by vector, with their similarity, best 1."""
    terms = [(term.token, term.weight) for term in query.terms]
    words = index.search_text(terms, filters, VOTERS, weights.fields).by_id()
    vectors = index.search_vector(query.text, filters, VOTERS).by_id()
    similarity = mix(words, vectors)
    top = max(similarity.values(), default=0.0) or 1.0
    order = sorted(similarity, key=lambda chunk_id: (-similarity[chunk_id], chunk_id))
    return [(chunk, similarity[chunk.id] / top) for chunk in index.chunks(order)]


def mix(words: Mapping[int, float], vectors: Mapping[int, float]) -> dict[int, float]:
    """Return the similarity of each chunk: words against their best, vectors between their last and their best."""
    top = max(words.values(), default=0.0) or 1.0
    nearest, last = max(vectors.values(), default=0.0), min(vectors.values(), default=0.0)
    span = (nearest - last) or 1.0
    return {
        chunk_id: words.get(chunk_id, 0.0) / top + VECTOR_SHARE * (vectors.get(chunk_id, last) - last) / span
        for chunk_id in {*words, *vectors}
    }


def named_keys(chunk: Chunk) -> list[str]:
    """Return the design ids and ticket keys that a chunk names, once each."""
    return list(dict.fromkeys((*find_design_keys(chunk.text), *find_ticket_keys(chunk.text))))
