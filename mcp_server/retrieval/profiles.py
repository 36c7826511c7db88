"""Profiles of files: whose changes the words of a query belong to, over all commits together.

Similar commits vote one by one (`history.py`). Here the commits that hold words of the query are read together: how
often each word came with a change of a file, against how often that file is changed at all. That is BM25 (Robertson,
Walker et al. 1994) over files whose text is what was said of their changes. A ticket speaks through the commits that
name it, together with what they say themselves: no change counts twice.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple, TypeVar
from weakref import WeakKeyDictionary

import numpy as np

from ingest.index.rows import FileRow
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
K = TypeVar("K")
V = TypeVar("V")
MAX_KEPT = 50_000  # commits, tickets or paths of one generation that are remembered


class Change(NamedTuple):
    """What a commit changed: its source files, and the share that each gets of what it says; 0 for a large commit."""

    commit: FileKey
    files: tuple[FileKey, ...]
    share: float


@dataclass(frozen=True, slots=True)
class Kept:
    """What was read of one generation, which does not change: a query reads hundreds of the same commits."""

    changes: dict[int, Change] = field(default_factory=dict)  # by chunk
    commits: dict[tuple[str, Filters], list[int]] = field(default_factory=dict)  # by ticket
    changed: dict[str, int] = field(default_factory=dict)  # how often, by path


_KEPT: WeakKeyDictionary[Index, Kept] = WeakKeyDictionary()


def profile_files(index: Index, query: ParsedQuery, filters: Filters, commits: Filters) -> dict[FileKey, float]:
    """Return the score of each source file that a commit touched which speaks of the query, 1 for the best."""
    weights = {term.token: term.weight for term in query.terms[:MAX_WORDS]}
    spoken = read_spoken(index, weights, filters, commits)
    places: dict[FileKey, int] = {}
    said = [
        (places.setdefault(file, len(places)), bits, change.share) for change, bits in spoken for file in change.files
    ]
    if not said:
        return {}
    held = (np.array([bits for _, bits, _ in said])[:, None] >> np.arange(len(weights))) & 1
    counts = np.zeros((len(places), len(weights)))
    np.add.at(counts, [place for place, _, _ in said], held * np.array([share for _, _, share in said])[:, None])
    changed = np.array([count_changes(index, path) for _, path in places], dtype=np.float64)
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


def kept(index: Index) -> Kept:
    """Return what is remembered of a generation."""
    return _KEPT.setdefault(index, Kept())


def remember(known: dict[K, V], key: K, value: V) -> V:
    """Keep a value, with all others forgotten where there are too many."""
    if len(known) >= MAX_KEPT:
        known.clear()
    known[key] = value
    return value


def count_changes(index: Index, path: str) -> int:
    """Return how many commits changed a path, and documents name it."""
    known = kept(index).changed
    count = known.get(path)
    return remember(known, path, index.link_frequency(path)) if count is None else count


def read_spoken(
    index: Index, weights: Mapping[str, float], filters: Filters, commits: Filters
) -> list[tuple[Change, int]]:
    """Return each change of source files that speaks of the query, and which words the commit or its tickets hold."""
    terms, tokens = list(weights.items()), list(weights)
    own = index.search_text(terms, commits, COMMITS, COMMIT_FIELDS).ids.tolist()
    told = read_tickets(index, terms, filters, commits)
    ids = list(dict.fromkeys((*own, *told)))
    spoken: dict[FileKey, tuple[Change, int]] = {}
    for change, chunk_id, bits in zip(
        read_changes(index, ids), ids, index.rows(ids).holding(tokens).tolist(), strict=True
    ):
        before = spoken.get(change.commit, (change, 0))[1]
        spoken[change.commit] = (change, before | bits | told.get(chunk_id, 0))
    return [spoken[commit] for commit in spoken]


def read_changes(index: Index, ids: Sequence[int]) -> list[Change]:
    """Return what some commits changed."""
    known = kept(index).changes
    found = {chunk_id: known.get(chunk_id) for chunk_id in ids}
    new = [chunk_id for chunk_id, change in found.items() if change is None]
    rows = index.rows(new)
    fresh = {
        chunk_id: remember(known, chunk_id, change_of(rows.files[at], rows.links(at)))
        for at, chunk_id in enumerate(new)
    }
    return [found[chunk_id] or fresh[chunk_id] for chunk_id in ids]


def change_of(commit: FileRow, links: Sequence[str]) -> Change:
    """Return what a commit changed, from its links."""
    paths = touched_paths(links)
    if not 0 < len(paths) <= MAX_FILES:
        return Change(file_key(commit), (), 0.0)
    source = commit.source.removesuffix(HISTORY_SUFFIX)
    files = tuple((source, path) for path in paths if path_role(path) == "source")
    return Change(file_key(commit), files, 1.0 / len(paths) ** FILES_SHARE)


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
        for chunk_id in commits_of(index, key, replace(commits, product=product)):
            found[chunk_id] = found.get(chunk_id, 0) | bits
    return found


def commits_of(index: Index, key: str, commits: Filters) -> list[int]:
    """Return the commits that name a ticket."""
    known = kept(index).commits
    place = (key, commits)
    found = known.get(place)
    return remember(known, place, index.linked_to(key, commits, COMMITS_OF_TICKET)) if found is None else found


def touched_paths(links: Sequence[str]) -> list[str]:
    """Return the paths among a commit's links, of a renamed file the new one."""
    old = {link.removeprefix(RENAME_LINK) for link in links if link.startswith(RENAME_LINK)}
    paths = [link for link in links if ("/" in link or "." in link) and not is_marked(link)]
    return [path for path in paths if path not in old]
