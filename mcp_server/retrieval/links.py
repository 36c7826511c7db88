"""Links, followed: from a key to its documents, to those that name it, to the files that these name or touched.

A ticket's fix is three steps away: ticket -> commits that name it (or a pull request that names it) -> files that they
touched -> the part of the file that the ticket is about. Every step stays within one product, since equal keys and
paths of two products have nothing to do with each other, and is bounded, so that cycles end.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from ingest.index.rows import FileRow
from ingest.model import Filters, is_marked
from mcp_server.retrieval.candidates import RankedList, rank_candidates
from mcp_server.retrieval.query import ParsedQuery, weigh_terms
from mcp_server.retrieval.weights import RankWeights

if TYPE_CHECKING:
    from ingest.index import Index

BY_KEY = "key"  # how a document was found that has the key which is asked for
MAX_FILES = 20  # that are followed from one set of documents
MAX_REQUESTS = 5  # tickets that name the key, whose own commits count for it: pull requests
MAX_NAMED = 10  # tickets and designs that the documents of one key name
KEY = re.compile(r"#\d+|[A-Z][A-Z0-9]*-\d+")
MAX_WORDS = 62  # that rows are asked for at once


class Linked(NamedTuple):
    """A document as its links see it."""

    chunk_id: int
    file: FileRow
    kind: str
    product: str
    links: Sequence[str]


def retrieve_links(index: Index, query: ParsedQuery, filters: Filters, weights: RankWeights) -> RankedList:
    """Documents with a ticket key or design id of the query, those that name it or are named by it, and files."""
    scored: list[tuple[int, float, str]] = []
    wide = replace(filters, sources=filters.followed | filters.sources, path_glob="", language="")
    for key in (*query.tickets, *query.designs):
        own = read_linked(index, index.find_keys(key, wide))
        known = {document.chunk_id for document in own}
        naming = read_linked(index, [i for i in index.linked_to(key, wide, weights.candidates) if i not in known])
        about = subject_of(index, own, query)
        scored.extend((document.chunk_id, 1.0, BY_KEY) for document in wanted(index, own, filters))
        scored.extend((document.chunk_id, 0.6, "names it") for document in wanted(index, naming, filters))
        scored.extend(
            (document.chunk_id, 0.5, "named by it") for document in wanted(index, named_by(index, own, wide), filters)
        )
        scored.extend(follow(index, own, filters, about, 0.8, "named by it"))
        scored.extend(follow(index, naming, filters, about, 0.5, "touched for it by {ref}"))
        for request in requests_among(own, naming):
            within = replace(wide, product=request.product)
            ids = index.linked_to(request.file.ref, within, weights.candidates)
            changes = [document for document in read_linked(index, ids) if document.kind == "commit"]
            how = f"touched for {request.file.ref}, which names it, by {{ref}}"
            scored.extend(follow(index, changes, filters, about, 0.4, how))
    return rank_candidates("link", scored).first(weights.candidates)


def wanted(index: Index, documents: Sequence[Linked], filters: Filters) -> list[Linked]:
    """Return the documents that are asked for, not only followed."""
    if filters.path_glob or filters.language:
        asked = {i for d in documents for i in index.document_ids(d.file.source, d.file.ref, filters)}
        return [document for document in documents if document.chunk_id in asked]
    return [document for document in documents if document.file.source in filters.sources]


def read_linked(index: Index, ids: Sequence[int]) -> list[Linked]:
    """Return documents by the ids of their chunks."""
    rows = index.rows(ids)
    found = []
    for at, (chunk_id, file) in enumerate(zip(rows.ids, rows.files, strict=True)):
        place = (index.kind_of(file.source), index.product_of(file.source))
        found.append(Linked(chunk_id, file, *place, rows.links(at)))
    return found


def subject_of(index: Index, own: Iterable[Linked], query: ParsedQuery) -> dict[str, float]:
    """Return the words that say what a key is about, by rarity: those of the query and of the documents' titles."""
    titles = " ".join(dict.fromkeys(document.file.title for document in own))
    weights = {term.token: term.weight for term in (*weigh_terms(titles), *query.terms)}
    counts = index.term_stats(list(weights))
    total = index.manifest.chunks
    return {token: weight * math.log(1 + total / (1 + counts[token])) for token, weight in weights.items()}


def requests_among(own: Sequence[Linked], naming: Sequence[Linked]) -> list[Linked]:
    """Return tickets that name the key, once each."""
    refs = {(document.file.source, document.file.ref) for document in own}
    found = {(d.file.source, d.file.ref): d for d in naming if d.kind == "ticket"}
    return [document for place, document in found.items() if place not in refs][:MAX_REQUESTS]


def named_by(index: Index, own: Sequence[Linked], filters: Filters) -> list[Linked]:
    """Return the tickets and designs that documents name, within the product of each: what one of them goes on in."""
    named = {(document.product, link): None for document in own for link in document.links if KEY.fullmatch(link)}
    found: list[Linked] = []
    for product, key in list(named)[:MAX_NAMED]:
        found += read_linked(index, index.find_keys(key, replace(filters, product=product)))
    known = {document.chunk_id for document in own}
    return [document for document in found if document.chunk_id not in known]


def follow(
    index: Index, documents: Sequence[Linked], filters: Filters, about: Mapping[str, float], score: float, how: str
) -> Iterator[tuple[int, float, str]]:
    """Yield the files that documents name or, as commits, touched: the part of each that the key is about."""
    seen: dict[tuple[str, str], str] = {}
    for document in documents:
        for path in touched_paths(document.links):
            seen.setdefault((document.product, path), document.file.ref)
    for (product, path), ref in list(seen.items())[:MAX_FILES]:
        within = replace(filters, product=product)
        for source, found in index.find_paths(path, within, 2):
            chunk = best_part(index, source, found, within, about)
            if chunk is not None:
                yield chunk, score, how.format(ref=ref)


def best_part(index: Index, source: str, path: str, filters: Filters, about: Mapping[str, float]) -> int | None:
    """Return the chunk of a file that holds most of the words that a key is about, by their weight; of equals any."""
    ids = sorted(index.document_ids(source, path, filters))
    if not ids:
        return None
    words = list(about)[:MAX_WORDS]
    held = index.rows(ids).holding(words).tolist()
    worth = [sum(about[word] for at, word in enumerate(words) if bits >> at & 1) for bits in held]
    best = max(range(len(ids)), key=worth.__getitem__)
    if worth[best]:
        return ids[best]
    first = index.first_chunk(source, path, filters)
    return first.id if first else None


def touched_paths(links: Iterable[str]) -> Iterator[str]:
    """Yield the paths among the links of a document."""
    return (link for link in links if ("." in link or "/" in link) and not is_marked(link))
