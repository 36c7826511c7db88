"""Profiles of files: whose changes the words of a query belong to, over all commits together.

Similar commits vote one by one (`history.py`). Here the commits that hold words of the query are read together: how
often each word came with a change of a file, against how often that file is changed at all. That is BM25 (Robertson,
Walker et al. 1994) over files whose text is what was said of their changes. A ticket speaks through the commits that
name it, together with what they say themselves: no change counts twice.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ingest.languages.roles import path_role
from ingest.model import HISTORY_SUFFIX, RENAME_LINK, Filters, is_marked
from mcp_server.retrieval.features import FileKey, file_key
from mcp_server.retrieval.query import ParsedQuery
from mcp_server.retrieval.weights import FIELD_WEIGHTS

if TYPE_CHECKING:
    from ingest.index import Index

# hit@1 of 675 tickets: 300 commits 0.628; on recorded candidates 200 0.618, 300 0.636, 450 0.622 (docs/decisions.md).
COMMITS = 300  # with most of the query's words that speak
TICKETS = 150  # 60 0.619
COMMITS_OF_TICKET = 5
MAX_FILES = 30  # of one commit; a larger one says little about each of them
FILES_SHARE = 0.5  # what a commit says is divided by the number of its files to this power
K1, B = 1.2, 0.9  # of BM25
COMMIT_FIELDS = {"message": 1.0, "touched": 0.3}
MAX_WORDS = 62  # that rows are asked for at once


def profile_files(index: Index, query: ParsedQuery, filters: Filters, commits: Filters) -> dict[FileKey, float]:
    """Return the score of each source file that a commit touched which speaks of the query, 1 for the best."""
    weights = {term.token: term.weight for term in query.terms[:MAX_WORDS]}
    spoken = read_spoken(index, weights, filters, commits)
    if not spoken:
        return {}
    places: dict[FileKey, int] = {}
    said = [
        (places.setdefault(file, len(places)), held, 1.0 / len(files) ** FILES_SHARE)
        for files, held in spoken.values()
        for file in files
        if path_role(file[1]) == "source"
    ]
    if not said:
        return {}
    held = (np.array([bits for _, bits, _ in said])[:, None] >> np.arange(len(weights))) & 1
    counts = np.zeros((len(places), len(weights)))
    np.add.at(counts, [place for place, _, _ in said], held * np.array([share for _, _, share in said])[:, None])
    changed = np.array([index.link_frequency(path) for _, path in places], dtype=np.float64)
    length = K1 * (1 - B + B * changed / changed.mean())
    worth = np.array(list(word_weights(index, weights, commits)))
    scores = (worth * counts * (K1 + 1) / (counts + length[:, None])).sum(axis=1)
    best = float(scores.max())
    return {file: float(score) / best for file, score in zip(places, scores, strict=True)} if best > 0 else {}


def word_weights(index: Index, weights: Mapping[str, float], commits: Filters) -> Iterator[float]:
    """Yield the weight of each word: its own, by how rare it is among commits."""
    total, counts = index.chunk_count(commits), index.term_stats(list(weights), commits)
    for token, weight in weights.items():
        yield weight * math.log(1 + (total - counts[token] + 0.5) / (counts[token] + 0.5))


def read_spoken(
    index: Index, weights: Mapping[str, float], filters: Filters, commits: Filters
) -> dict[FileKey, tuple[list[FileKey], int]]:
    """Return, for each commit that speaks of the query, its files and which of the words it or its tickets hold."""
    terms, tokens = list(weights.items()), list(weights)
    own = index.search_text(terms, commits, COMMITS, COMMIT_FIELDS).ids.tolist()
    told = read_tickets(index, terms, filters, commits)
    ids = list(dict.fromkeys((*own, *told)))
    rows = index.rows(ids)
    spoken: dict[FileKey, tuple[list[FileKey], int]] = {}
    for at, (chunk_id, commit, bits) in enumerate(zip(ids, rows.files, rows.holding(tokens).tolist(), strict=True)):
        paths = touched_paths(rows.links(at))
        if 0 < len(paths) <= MAX_FILES:
            source = commit.source.removesuffix(HISTORY_SUFFIX)
            known = spoken.get(file_key(commit), ([], 0))[1]
            spoken[file_key(commit)] = ([(source, path) for path in paths], known | bits | told.get(chunk_id, 0))
    return spoken


def read_tickets(
    index: Index, terms: Sequence[tuple[str, float]], filters: Filters, commits: Filters
) -> dict[int, int]:
    """Return which words the tickets hold that commits name, by the commit's chunk."""
    sources = frozenset(source for source in filters.followed | filters.sources if index.kind_of(source) == "ticket")
    if not sources:
        return {}
    tickets = replace(filters, sources=sources, kinds=frozenset({"ticket"}), path_glob="", language="")
    ids = index.search_text(list(terms), tickets, TICKETS, FIELD_WEIGHTS).ids.tolist()
    rows = index.rows(ids)
    held: dict[tuple[str, str], int] = {}
    for ticket, bits in zip(rows.files, rows.holding([token for token, _ in terms]).tolist(), strict=True):
        place = (index.product_of(ticket.source), ticket.ref)
        held[place] = held.get(place, 0) | bits
    found: dict[int, int] = {}
    for (product, key), bits in held.items():
        for chunk_id in index.linked_to(key, replace(commits, product=product), COMMITS_OF_TICKET):
            found[chunk_id] = found.get(chunk_id, 0) | bits
    return found


def touched_paths(links: Sequence[str]) -> list[str]:
    """Return the paths among a commit's links, of a renamed file the new one."""
    old = {link.removeprefix(RENAME_LINK) for link in links if link.startswith(RENAME_LINK)}
    paths = [link for link in links if ("/" in link or "." in link) and not is_marked(link)]
    return [path for path in paths if path not in old]
